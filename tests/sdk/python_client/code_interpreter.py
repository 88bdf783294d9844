"""Runs whose model writes code."""

import json
from typing import Any

from python_client.common import (
    RUN_START,
    STEP_START,
    TEXT_STEP,
    Recorder,
    client,
    new_assistant,
    new_thread,
    plain,
    same,
    threads,
)

CODE = (
    "from PIL import Image\nprint('rows: 3')\ndisplay(Image.new('RGB', (2, 2), 'red'))\n"
    "written = open('table.csv', 'w').write('a,b\\n1,2\\n')"
)
ASKS = "@call code_interpreter " + json.dumps({"code": CODE})
PNG = b"\x89PNG"


class CodeRecorder(Recorder):
    """Also keeps the code and the logs as they stream."""

    def __init__(self) -> None:
        super().__init__()
        self.code = self.logs = ""

    def on_tool_call_delta(self, delta: Any, snapshot: Any) -> None:
        code = delta.code_interpreter
        self.code += code.input or ""
        self.logs += "".join(output.logs for output in code.outputs or [] if output.type == "logs")
        same(snapshot.code_interpreter.input, self.code)


def coding_assistant() -> Any:
    return new_assistant(tools=[{"type": "code_interpreter"}])


def code_streams_its_input_its_logs_and_an_image() -> None:
    assistant, thread, recorder = coding_assistant(), new_thread(ASKS), CodeRecorder()
    with threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=recorder) as stream:
        run = stream.get_final_run()
    same(run.status, "completed")
    worked = [*STEP_START, "thread.run.step.delta", "thread.run.step.completed"]
    same(recorder.events, [*RUN_START, *worked, *TEXT_STEP, "thread.run.completed"])
    same(recorder.code, CODE)
    same(recorder.logs, "rows: 3\n")
    same(plain(stream.get_final_messages()), plain(threads.messages.list(thread.id, run_id=run.id)))
    same(plain(reversed(recorder.steps)), plain(threads.runs.steps.list(run.id, thread_id=thread.id)))
    (call,) = recorder.steps[0].step_details.tool_calls
    image = next(output for output in call.code_interpreter.outputs if output.type == "image")
    (message,) = stream.get_final_messages()
    first = message.content[0]
    assert first.type == "image_file"
    same(first.image_file.file_id, image.image.file_id)
    same(client.files.content(image.image.file_id).read()[:4], PNG)


def code_gives_its_files_to_who_follows_the_links() -> None:
    assistant, thread = coding_assistant(), new_thread(ASKS)
    run = threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    same(run.status, "completed")
    (message,) = threads.messages.list(thread.id, run_id=run.id)
    text = message.content[1]
    assert text.type == "text"
    (annotation,) = text.text.annotations
    assert annotation.type == "file_path"
    same(annotation.text, "sandbox:/mnt/data/table.csv")
    same(text.text.value[annotation.start_index : annotation.end_index], annotation.text)
    file = client.files.retrieve(annotation.file_path.file_id)
    same((file.filename, file.purpose), ("table.csv", "assistants_output"))
    same(client.files.content(file.id).read(), b"a,b\n1,2\n")


def code_reads_the_files_of_a_message() -> None:
    assistant = coding_assistant()
    file = client.files.create(file=("numbers.txt", b"3 4 5"), purpose="assistants")
    code = "@call code_interpreter " + json.dumps(
        {"code": "sum(map(int, open('/mnt/data/numbers.txt').read().split()))"}
    )
    attached: Any = {"file_id": file.id, "tools": [{"type": "code_interpreter"}]}
    thread = threads.create(messages=[{"role": "user", "content": code, "attachments": [attached]}])
    run = threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    step = next(iter(threads.runs.steps.list(run.id, thread_id=thread.id, order="asc")))
    (call,) = step.step_details.tool_calls  # type: ignore[union-attr]
    same([output.logs for output in call.code_interpreter.outputs], ["12"])  # type: ignore[union-attr]
