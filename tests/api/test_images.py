"""Image files in messages, as the model server is shown them."""

import base64
from typing import Any

import pytest

from support import lasting
from support.files import new_file
from support.model_server import Reply, ScriptedModel
from support.server import RunningServer
from support.talk import Talk
from understudy.core import limits
from understudy.engine import images

lasting_model, model, server = lasting.lasting_model, lasting.model, lasting.server()
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def image(file: dict[str, Any], **fields: str) -> dict[str, Any]:
    return {"type": "image_file", "image_file": {"file_id": file["id"], **fields}}


def data_url(content: bytes, type_: str) -> str:
    return f"data:{type_};base64,{base64.b64encode(content).decode()}"


async def shown(model: ScriptedModel, server: RunningServer, *parts: dict[str, Any]) -> list[Any]:
    """What the model is shown of a message with these parts."""
    talk = await Talk.begin(server.client, content="First")
    await server.client.post(f"{talk.path}/messages", {"role": "user", "content": list(parts)})
    model.script(Reply("A picture."))
    assert (await talk.stream())[-2].data["status"] == "completed"
    content = model.chats[-1].body["messages"][-1]["content"]
    return content if isinstance(content, list) else [content]


@pytest.mark.parametrize(
    ("content", "type_"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0 and so on", "image/jpeg"),
        (b"GIF89a and so on", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
async def test_an_image_file_is_shown_by_what_it_holds(
    model: ScriptedModel, server: RunningServer, content: bytes, type_: str
) -> None:
    file = await new_file(server.client, content, filename="a.bin", purpose="vision")
    assert await shown(model, server, {"type": "text", "text": "Look"}, image(file, detail="low")) == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": data_url(content, type_), "detail": "low"}},
    ]


@pytest.mark.parametrize("content", [b"", b"no image", b"<svg></svg>", b"RIFF\x10\0\0\0WAVE"])
async def test_what_is_no_image_is_named_in_words(model: ScriptedModel, server: RunningServer, content: bytes) -> None:
    file = await new_file(server.client, content, filename="a.png", content_type="image/png", purpose="vision")
    assert await shown(model, server, image(file)) == [f"[image file {file['id']} is not available]"]


async def test_an_image_that_was_deleted_is_named_in_words(model: ScriptedModel, server: RunningServer) -> None:
    file = await new_file(server.client, PNG, purpose="vision")
    talk = await Talk.begin(server.client, content="First")
    await server.client.post(f"{talk.path}/messages", {"role": "user", "content": [image(file)]})
    await server.client.delete(f"/v1/files/{file['id']}")
    model.script(Reply("Gone."))
    await talk.stream()
    assert model.chats[-1].body["messages"][-1]["content"] == f"[image file {file['id']} is not available]"


async def test_an_image_that_is_too_large_is_named_in_words(
    model: ScriptedModel, server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "IMAGE_BYTES_MAX", len(PNG))
    small, large = await new_file(server.client, PNG), await new_file(server.client, PNG + b"x")
    got = await shown(model, server, image(small), image(large))
    assert got[0]["image_url"]["url"] == data_url(PNG, "image/png")
    assert got[1] == {"type": "text", "text": f"[image file {large['id']} is not available]"}


async def test_images_that_are_too_large_together_are_shown_as_far_as_there_is_room(
    model: ScriptedModel, server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that is in the thread three times is sent three times."""
    monkeypatch.setattr(images, "IMAGES_BYTES_MAX", 3 * len(PNG))
    thrice, once, last = [await new_file(server.client, PNG) for _ in range(3)]
    got = await shown(model, server, image(thrice), image(thrice), image(thrice), image(once))
    assert [part["type"] for part in got] == ["image_url"] * 3 + ["text"]
    got = await shown(model, server, image(once), image(thrice), image(thrice), image(thrice), image(last))
    assert [part["type"] for part in got] == ["image_url", "text", "text", "text", "image_url"]


def test_the_limits_let_every_image_be_shown_that_the_api_takes() -> None:
    assert limits.IMAGE_BYTES_MAX == 20 * 1024 * 1024 < limits.IMAGES_BYTES_MAX
