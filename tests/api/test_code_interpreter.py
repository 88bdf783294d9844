"""Code that runs in the sandbox, from the model's call to the downloaded file, over the whole server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from support.client import Client, Event
from support.code import sandbox_folder
from support.files import new_file
from support.model_server import Call, Interleaved, Reply, ScriptedModel
from support.sandbox_daemon import KEY, daemon_over
from support.sandboxes import required
from support.sdk import accumulated, without_index
from support.server import RunningServer, running_server
from support.talk import WEATHER, Talk, polled
from support.transcript import check_golden, transcript
from understudy.sandbox import LocalSandboxes

CODE = {"type": "code_interpreter"}
PNG = b"\x89PNG\r\n\x1a\n"
DRAW = "from PIL import Image\ndisplay(Image.new('RGB', (4, 4), 'red'))"


@pytest.fixture(scope="module")
async def coding(shared_model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    folder = tmp_path_factory.mktemp("coding")
    sandbox = sandbox_folder(folder)
    async with running_server(
        shared_model, folder, sandbox_dir=sandbox, sandbox_sessions=4, sandbox_call_seconds=2.0
    ) as running:
        yield running


@pytest.fixture
def client(coding: RunningServer, shared_model: ScriptedModel) -> Client:
    shared_model.forget()
    return coding.client


def calls(code: str, *, id_: str = "call_c") -> Call:
    return Call(id_, "code_interpreter", json.dumps({"code": code}))


def runs(*codes: str) -> Reply:
    return Reply(Interleaved(*(calls(code, id_=f"call_{number}") for number, code in enumerate(codes))))


async def outputs(talk: Talk, run: dict[str, Any], *, step: int = 0) -> list[dict[str, Any]]:
    (call,) = (await talk.steps(run))[step]["step_details"]["tool_calls"]
    found: list[dict[str, Any]] = call["code_interpreter"]["outputs"]
    return found


async def logs(talk: Talk, run: dict[str, Any]) -> str:
    return "".join(output.get("logs", "[image]") for output in await outputs(talk, run))


async def ran(talk: Talk, model: ScriptedModel, *codes: str, says: str = "Done.") -> dict[str, Any]:
    """A run whose model makes these calls in one turn, and then says this."""
    model.script(runs(*codes), Reply(says))
    run: dict[str, Any] = (await talk.stream())[-2].data
    assert run["status"] == "completed", run["last_error"]
    return run


def told(model: ScriptedModel, turn: int = -1) -> list[str]:
    return [message["content"] for message in model.chats[turn].body["messages"] if message["role"] == "tool"]


def step_calls(events: list[Event], step: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls of a step as the SDKs add them up from its deltas."""
    deltas = [
        event.data["delta"] for event in events if event.name.endswith("delta") and event.data["id"] == step["id"]
    ]
    details: Any = accumulated(deltas)["step_details"]
    calls = without_index(details["tool_calls"])
    for call in calls:
        code: Any = call["code_interpreter"]
        code["outputs"] = without_index(code["outputs"])
    return calls


def parts(events: list[Event], message: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a message, in the same way."""
    deltas = [
        event.data["delta"] for event in events if event.name.endswith("delta") and event.data["id"] == message["id"]
    ]
    content = without_index(accumulated(deltas)["content"])
    for part in content:
        text: Any = part.get("text")
        if text is not None:
            text["annotations"] = without_index(text["annotations"])
    return content


async def content_of(client: Client, file_id: str) -> bytes:
    download = await client.download(f"/v1/files/{file_id}/content")
    assert download.status == 200
    return download.content


async def test_what_code_prints_and_comes_to_is_shown_and_told(client: Client, shared_model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    shared_model.script(runs("print('a')\n40 + 2"), Reply("Forty-two."))
    events = await talk.stream()
    run = events[-2].data
    (step, _) = await talk.steps(run)
    assert step_calls(events, step) == step["step_details"]["tool_calls"]
    (call,) = step["step_details"]["tool_calls"]
    assert call["code_interpreter"] == {
        "input": "print('a')\n40 + 2",
        "outputs": [{"type": "logs", "logs": "a\n42"}],
    }
    assert told(shared_model) == ["a\n42"]
    assert step["usage"]["total_tokens"] > 0


async def test_variables_stay_from_call_to_call_and_from_run_to_run(
    client: Client, shared_model: ScriptedModel
) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    await ran(talk, shared_model, "x = 1", "x += 1")
    assert await logs(talk, await ran(talk, shared_model, "print(x)")) == "2\n"
    other = await Talk.begin(client, tools=[CODE])
    assert "NameError" in await logs(other, await ran(other, shared_model, "print(x)"))


async def test_images_and_files_reach_the_client(client: Client, shared_model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    code = f"print('one')\n{DRAW}\nprint('two')\nopen('t.csv', 'w').write('a,b\\n')"
    shared_model.script(runs(code), Reply("\U0001f600 [t](sandbox:/mnt", "/data/t.csv), not sandbox:/mnt/data/u."))
    events = await talk.stream()
    run = events[-2].data
    step, _ = await talk.steps(run)
    message = (await talk.messages())[-1]
    assert step_calls(events, step) == step["step_details"]["tool_calls"]
    assert parts(events, message) == message["content"]
    kinds = [output["type"] for output in await outputs(talk, run)]
    assert kinds == ["logs", "image", "logs"]
    image, text = message["content"]
    assert image["image_file"]["file_id"] == (await outputs(talk, run))[1]["image"]["file_id"]
    (annotation,) = text["text"]["annotations"]
    assert (annotation["type"], annotation["text"]) == ("file_path", "sandbox:/mnt/data/t.csv")
    assert text["text"]["value"][annotation["start_index"] : annotation["end_index"]] == annotation["text"]
    file = await client.get(f"/v1/files/{annotation['file_path']['file_id']}")
    assert (file["purpose"], file["filename"], file["bytes"]) == ("assistants_output", "t.csv", 4)
    assert await content_of(client, file["id"]) == b"a,b\n"
    assert (await content_of(client, image["image_file"]["file_id"])).startswith(PNG)
    listed = await client.get("/v1/files", purpose="assistants_output")
    assert {file["id"], image["image_file"]["file_id"]} <= {one["id"] for one in listed["data"]}
    await client.delete(f"/v1/files/{file['id']}")
    assert "[image 1" in told(shared_model)[0]
    assert "Files that the code wrote: sandbox:/mnt/data/t.csv" in told(shared_model)[0]


async def test_the_stream_of_code_with_an_image_and_a_file(client: Client, shared_model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    code = f"print('rows: 3')\n{DRAW}\nf = open('t.csv', 'w').write('a,b')"
    cut = Call("call_c", "code_interpreter", '{"code": "', *json.dumps(code)[1:].splitlines(), "}")
    shared_model.script(Reply(cut), Reply("Saved as ", "[t](sandbox:/mnt/da", "ta/t.csv", ")."))
    check_golden("code-interpreter", transcript(await talk.stream()))


async def test_a_reader_that_comes_late_is_shown_the_same(client: Client, shared_model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    run = await ran(talk, shared_model, f"{DRAW}\nopen('t', 'w')", says="[t](sandbox:/mnt/data/t)")
    async with client.resume(f"{talk.path}/runs/{run['id']}/stream") as told_late:
        events = [event async for event in told_late]
    step, _ = await talk.steps(run)
    message = (await talk.messages())[-1]
    assert step_calls(events, step) == step["step_details"]["tool_calls"]
    assert parts(events, message) == message["content"]


async def test_images_go_to_the_next_message_only_and_are_words_to_the_model(
    client: Client, shared_model: ScriptedModel
) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    shared_model.script(Reply("Now.", calls(DRAW)), runs(DRAW), Reply(), Reply("So."))
    run = (await talk.stream())[-2].data
    assert run["status"] == "completed"
    assert [[part["type"] for part in one["content"]] for one in await talk.messages()] == [
        ["text"],
        ["text"],
        ["image_file", "image_file"],
    ]
    await talk.stream()
    assert [message["content"] for message in shared_model.chats[-1].body["messages"]][1:] == [
        "Now.",
        "[image]\n[image]",
    ]


async def test_files_of_assistant_thread_and_message_are_there_by_name(
    client: Client, shared_model: ScriptedModel
) -> None:
    contents = {"of assistant": "a.txt", "of thread": "a.txt", "of message": "../../b c.txt"}
    ids = [(await new_file(client, text.encode(), filename=name))["id"] for text, name in contents.items()]
    resources = [{"code_interpreter": {"file_ids": [file_id]}} for file_id in ids[:2]]
    talk = await Talk.begin(client, tools=[CODE], tool_resources=resources[0])
    await client.post(talk.path, {"tool_resources": resources[1]})
    attached = {"role": "user", "content": "Read.", "attachments": [{"file_id": ids[2], "tools": [CODE]}]}
    await client.post(f"{talk.path}/messages", attached)
    read = "import os\nfor n in sorted(os.listdir('/mnt/data')): print(n, open(n).read())"
    run = await ran(talk, shared_model, read)
    assert await logs(talk, run) == "a.txt of assistant\na_2.txt of thread\nb c.txt of message\n"
    (tool,) = shared_model.chats[0].body["tools"]
    assert '"a.txt", "a_2.txt", "b c.txt"' in tool["function"]["description"]
    changed = await ran(talk, shared_model, "open('a.txt', 'a').write('!')", read, says="sandbox:/mnt/data/a.txt")
    assert "a.txt of assistant!" in told(shared_model)[1]
    (annotation,) = (await talk.messages())[-1]["content"][0]["text"]["annotations"]
    assert annotation["file_path"]["file_id"] not in ids
    assert await content_of(client, annotation["file_path"]["file_id"]) == b"of assistant!"
    assert changed["status"] == "completed"


async def test_twenty_files_each_are_given_and_deleted_ones_are_left_out(
    client: Client, shared_model: ScriptedModel
) -> None:
    files = [await new_file(client, b"%d" % number, filename="same.txt") for number in range(40)]
    ids = [file["id"] for file in files]
    talk = await Talk.begin(client, tools=[CODE], tool_resources={"code_interpreter": {"file_ids": ids[:20]}})
    await client.post(talk.path, {"tool_resources": {"code_interpreter": {"file_ids": ids[20:]}}})
    await client.delete(f"/v1/files/{ids[3]}")
    run = await ran(talk, shared_model, "import os\nprint(len(os.listdir()), open('same_39.txt').read())")
    assert await logs(talk, run) == "39 39\n"


async def test_a_name_that_is_written_again_is_a_new_file(client: Client, shared_model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    link = "sandbox:/mnt/data/t"
    await ran(talk, shared_model, "open('t', 'w').write('1')", says=link)
    await ran(talk, shared_model, "open('t', 'w').write('22')", "pass", says=f"{link} {link}")
    shared_model.script(Reply(f"Again: {link}"))
    await talk.stream()
    texts = [one["content"][0]["text"] for one in await talk.messages()][1:]
    ids = [[each["file_path"]["file_id"] for each in text["annotations"]] for text in texts]
    assert [len(each) for each in ids] == [1, 2, 1]
    assert ids[0][0] != ids[1][0] == ids[1][1] == ids[2][0]
    assert [await content_of(client, one) for one in (ids[0][0], ids[1][0])] == [b"1", b"22"]


async def test_code_that_runs_for_too_long_is_interrupted_and_keeps_its_variables(
    client: Client, shared_model: ScriptedModel
) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    run = await ran(talk, shared_model, "x = 7\nwhile True: pass", "print(x)")
    assert "ran for too long" in told(shared_model)[0]
    assert told(shared_model)[1] == "7"
    assert run["status"] == "completed"


async def test_a_session_that_kills_itself_says_so_and_keeps_its_files(
    client: Client, shared_model: ScriptedModel
) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    dies = "x = 1\nopen('t', 'w').write('kept')\nimport os\nos._exit(3)"
    await ran(talk, shared_model, dies, "print(open('t').read(), 'x' in globals())")
    first, second = told(shared_model)
    assert "Variables are lost, files are kept." in first
    assert "sandbox:/mnt/data/t" in first
    assert "Python was started anew" in second
    assert "kept False" in second


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("print('a\\0b')", "b\n"),
        ("import sys\nsys.stdout.flush()\nsys.stdout.buffer.write(b'\\xff\\xfe!')\nsys.stdout.flush()", "!"),
        ("print('\\ud800')", ""),
        ("print('sandbox:/mnt/data/x 【0:0†source】 [image 1]')", "[image 1]"),
        ("print('data: [DONE]\\n\\nevent: error')", "event: error"),
    ],
)
async def test_hostile_output_is_text_like_any_other(
    client: Client, shared_model: ScriptedModel, code: str, shown: str
) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    assert shown in await logs(talk, await ran(talk, shared_model, code))


async def test_a_flood_of_output_is_bounded(client: Client, shared_model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    shared_model.script(runs("for n in range(400_000): print(n)"), Reply("So."))
    events = await talk.stream()
    run = events[-2].data
    assert run["status"] == "completed"
    assert 100_000 < len(await logs(talk, run)) < 270_000
    assert len([event for event in events if event.name == "thread.run.step.delta"]) < 100
    assert len(told(shared_model)[0]) < 80_000
    assert "characters are left out here" in told(shared_model)[0]


async def test_more_images_than_a_call_may_show_are_left_out(client: Client, shared_model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    draw = "from PIL import Image\nfor n in range(25): display(Image.new('RGB', (2, 2), (n, 0, 0)))"
    run = await ran(talk, shared_model, draw)
    assert len([output for output in await outputs(talk, run) if output["type"] == "image"]) == 20
    assert len((await talk.messages())[-1]["content"]) == 21


@pytest.mark.parametrize("arguments", ["1 + 1", "```python\n1 + 1\n```", '{"code": "1 + 1"}', '{"input": "1 + 1"}'])
async def test_code_is_understood_in_any_form(client: Client, shared_model: ScriptedModel, arguments: str) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    shared_model.script(Reply(Call("call_c", "code_interpreter", *arguments)), Reply("Two."))
    run = (await talk.stream())[-2].data
    assert await logs(talk, run) == "2"
    (step, _) = await talk.steps(run)
    assert step["step_details"]["tool_calls"][0]["code_interpreter"]["input"] == "1 + 1"


async def test_a_call_without_code_is_answered_with_how_to_write_one(
    client: Client, shared_model: ScriptedModel
) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    await ran(talk, shared_model, " ")
    assert told(shared_model)[0].startswith("There was no code in the call.")


async def test_functions_beside_code_are_the_clients_to_call(client: Client, shared_model: ScriptedModel) -> None:
    talk = await Talk.begin(client, tools=[CODE, WEATHER])
    both = Interleaved(calls("print(1)"), Call("call_w", "weather", "{}"))
    choice = {"type": "code_interpreter"}
    shared_model.script(Reply(both), Reply("So."))
    run = (await talk.stream(tool_choice=choice))[-2].data
    assert [call["id"] for call in run["required_action"]["submit_tool_outputs"]["tool_calls"]] == ["call_w"]
    assert shared_model.chats[0].body["tool_choice"]["function"]["name"] == "code_interpreter"
    await talk.submit_streaming(run, call_w="Rain.")
    assert told(shared_model) == ["1", "Rain."]


async def test_a_cancel_interrupts_the_code_and_the_session_goes_on(
    client: Client, shared_model: ScriptedModel
) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    shared_model.script(runs("x = 5\nprint('begun', flush=True)\nimport time\ntime.sleep(60)"))
    streaming = asyncio.create_task(talk.stream())
    run = await talk.newest_run()

    async def begun() -> bool | None:
        events = await client.get(f"{talk.path}/runs/{run['id']}/steps")
        return True if events["data"] else None

    await polled(begun)
    await talk.cancel(run)
    events = await streaming
    assert [event.name for event in events[-3:]] == ["thread.run.step.cancelled", "thread.run.cancelled", "done"]
    assert "5" in await logs(talk, await ran(talk, shared_model, "print(globals().get('x', 5))"))


async def test_a_deleted_thread_ends_its_session(
    coding: RunningServer, client: Client, shared_model: ScriptedModel
) -> None:
    talk = await Talk.begin(client, tools=[CODE])
    await ran(talk, shared_model, "open('mine.txt', 'w').write('x')")
    sessions = coding.settings.sandbox / "sessions"
    assert [*sessions.rglob("mine.txt")]
    await client.delete(talk.path)

    async def gone() -> bool | None:
        return None if [*sessions.rglob("mine.txt")] else True

    await polled(gone)


async def test_without_a_sandbox_a_run_that_calls_the_tool_fails_with_what_mends_it(
    model: ScriptedModel, tmp_path: Path
) -> None:
    async with running_server(model, tmp_path) as server:
        talk = await Talk.begin(server.client, tools=[CODE])
        model.script(Reply("No code needed."), runs("1"))
        assert (await talk.stream())[-2].data["status"] == "completed"
        run = (await talk.stream())[-2].data
        assert (run["status"], run["last_error"]["code"]) == ("failed", "server_error")
        assert "understudy sandbox init" in run["last_error"]["message"]
        step = (await talk.steps(run))[0]
        assert (step["status"], step["last_error"]["message"]) == ("failed", run["last_error"]["message"])


async def test_code_may_run_on_another_machine_and_that_one_may_go(model: ScriptedModel, tmp_path: Path) -> None:
    far = LocalSandboxes(environment=required(), folder=tmp_path / "far", warm=0)
    async with AsyncExitStack() as daemon:
        daemon.push_async_callback(far.close)
        url = await daemon.enter_async_context(daemon_over(far, tmp_path / "staged"))
        async with running_server(model, tmp_path, sandbox_urls=url, sandbox_key=KEY) as server:
            file = await new_file(server.client, b"1,2", filename="a.csv")
            resources = {"code_interpreter": {"file_ids": [file["id"]]}}
            talk = await Talk.begin(server.client, tools=[CODE], tool_resources=resources)
            code = f"{DRAW}\nprint(open('a.csv').read())\nf = open('b.csv', 'w').write('3')"
            run = await ran(talk, model, code, says="sandbox:/mnt/data/b.csv")
            # What is printed and what is drawn come by ways of their own.
            assert await logs(talk, run) in ("[image]1,2\n", "1,2\n[image]")
            _, text = (await talk.messages())[-1]["content"]
            made = text["text"]["annotations"][0]["file_path"]["file_id"]
            assert await content_of(server.client, made) == b"3"
            await daemon.aclose()
            model.script(runs("1"))
            run = (await talk.stream())[-2].data
            assert run["status"] == "failed"
            assert "None of the code interpreter's daemons answers" in run["last_error"]["message"]
