"""Files and uploads."""

import hashlib
import uuid
from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openai
from python_client.common import client, model_requests, new_assistant, refused, same, threads

PNG = b"\x89PNG\r\n\x1a\n"


def files_are_created_listed_read_and_deleted() -> None:
    content = b"One line\r\n\0 and bytes \xff"
    made = client.files.create(file=("notes \u00e9.txt", content), purpose="assistants")
    assert made.id.startswith("file-"), made.id
    same((made.object, made.bytes, made.filename), ("file", len(content), "notes \u00e9.txt"))
    same((made.purpose, made.status), ("assistants", "processed"))
    same(client.files.retrieve(made.id).to_dict(), made.to_dict())
    same(client.files.wait_for_processing(made.id).to_dict(), made.to_dict())
    same(client.files.content(made.id).read(), content)
    later = client.files.create(file=content, purpose="user_data")
    listed = [one.id for one in client.files.list() if one.id in (made.id, later.id)]
    same(listed, [later.id, made.id])
    assert made.id not in [one.id for one in client.files.list(purpose="user_data", limit=2)]
    same(client.files.delete(made.id).to_dict(), {"id": made.id, "object": "file", "deleted": True})
    gone = f"No such File object: {made.id}"
    refused(openai.NotFoundError, lambda: client.files.retrieve(made.id), gone)
    refused(openai.NotFoundError, lambda: client.files.content(made.id), gone)


def files_expire_when_they_are_told_to() -> None:
    made = client.files.create(
        file=("a.jsonl", b"{}"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    same(made.expires_at, made.created_at + 3600)


def deleted_files_leave_the_lists_of_assistants_and_threads() -> None:
    kept, gone = (client.files.create(file=("a.csv", b"1,2"), purpose="assistants").id for _ in range(2))
    resources: Any = {"code_interpreter": {"file_ids": [kept, gone]}}
    assistant = new_assistant(tools=[{"type": "code_interpreter"}], tool_resources=resources)
    thread = threads.create(tool_resources=resources)
    same(assistant.tool_resources.code_interpreter.file_ids, [kept, gone])
    client.files.delete(gone)
    same(client.beta.assistants.retrieve(assistant.id).tool_resources.code_interpreter.file_ids, [kept])  # type: ignore[union-attr]
    same(threads.retrieve(thread.id).tool_resources.code_interpreter.file_ids, [kept])  # type: ignore[union-attr]
    refused(
        openai.NotFoundError,
        lambda: threads.create(tool_resources=resources),
        f"No such File object: {gone}",
    )


def uploads_are_sent_whole_or_in_parts() -> None:
    content = bytes(range(256)) * 1000
    with TemporaryDirectory() as directory:
        path = Path(directory) / "whole.bin"
        path.write_bytes(content)
        whole = client.uploads.upload_file_chunked(
            file=path, mime_type="application/octet-stream", purpose="user_data", md5=hashlib.md5(content).hexdigest()
        )
    parts = client.uploads.upload_file_chunked(
        file=content,
        filename="parts.txt",
        bytes=len(content),
        mime_type="text/plain",
        purpose="assistants",
        part_size=100_000,
    )
    for upload, name in ((whole, "whole.bin"), (parts, "parts.txt")):
        assert upload.file is not None
        same((upload.status, upload.file.filename, upload.file.bytes), ("completed", name, len(content)))
        same(client.files.content(upload.file.id).read(), content)


def uploads_are_put_together_by_hand_or_cancelled() -> None:
    upload = client.uploads.create(filename="a.txt", purpose="assistants", bytes=6, mime_type="text/plain")
    same((upload.status, upload.file, upload.expires_at - upload.created_at), ("pending", None, 3600))
    last, first = (client.uploads.parts.create(upload.id, data=piece).id for piece in (b"def", b"abc"))
    done = client.uploads.complete(upload.id, part_ids=[first, last])
    assert done.file is not None
    same(client.files.content(done.file.id).read(), b"abcdef")
    other = client.uploads.create(filename="a.txt", purpose="assistants", bytes=6, mime_type="text/plain")
    same(client.uploads.cancel(other.id).status, "cancelled")
    told = "Cannot complete upload with status 'cancelled'."
    refused(openai.BadRequestError, lambda: client.uploads.complete(other.id, part_ids=[]), told)


def image_file_reaches_the_model() -> None:
    image = PNG + uuid.uuid4().bytes
    file = client.files.create(file=("a.png", image), purpose="vision")
    part: Any = {"type": "image_file", "image_file": {"file_id": file.id, "detail": "low"}}
    thread = threads.create(messages=[{"role": "user", "content": [{"type": "text", "text": "@say A picture"}, part]}])
    run = threads.runs.create_and_poll(thread_id=thread.id, assistant_id=new_assistant(model="gpt-4o").id)
    same(run.status, "completed")
    url = f"data:image/png;base64,{b64encode(image).decode()}"
    (request,) = model_requests(url)
    same(request["messages"][-1]["content"][1], {"type": "image_url", "image_url": {"url": url, "detail": "low"}})
