"""The local model as a `ports.Models`: over real HTTP, with a scripted process, and with the real model where it is."""

import importlib.util
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from structlog.testing import capture_logs

from support.local import CHILD, ENOUGH_SECONDS, requests, scripted, starts
from understudy.entropy import new_id
from understudy.models.local import LocalModels, model_name
from understudy.models.local_server import COMMAND
from understudy.ports import ChunkStream
from understudy.weights import SMOLLM2
from understudy.wire.chat import ChatRequest, Chunk

WEATHER = {
    "name": "get_weather",
    "description": "Gets the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
}
TIME = {"name": "get_time", "description": "Gets the time.", "parameters": {"type": "object", "properties": {}}}


@asynccontextmanager
async def local(gguf: Path, **options: Any) -> AsyncIterator[LocalModels]:
    models = LocalModels(gguf=lambda: gguf, model="tiny", new_id=new_id, **{"command": CHILD, **options})
    try:
        yield models
    finally:
        await models.close()


def request(text: object = "Hi", *functions: dict[str, Any], **settings: Any) -> ChatRequest:
    tools = {"tools": [{"function": function} for function in functions]} if functions else {}
    content = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **tools, **settings}
    return msgspec.convert(content, ChatRequest)


async def drained(stream: ChunkStream) -> list[Chunk]:
    chunks: list[Chunk] = []
    while read := await stream.next():
        chunks += read
    await stream.close()
    return chunks


def text_of(chunks: list[Chunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def call_of(chunks: list[Chunk]) -> tuple[str, str, Any]:
    """The id, the name and the arguments of the one call."""
    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    (id_,) = [call.id for call in calls if call.id]
    (name,) = [call.function.name for call in calls if call.function and call.function.name]
    return id_, name, json.loads("".join(call.function.arguments or "" for call in calls if call.function))


def finish_of(chunks: list[Chunk]) -> str:
    (reason,) = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    return reason


async def test_the_first_use_starts_the_model_and_streams_its_answer(tmp_path: Path) -> None:
    gguf = scripted(tmp_path, answer=["Hel", "lo"])
    async with local(gguf) as models:
        chunks = await drained(await models.chat(request()))
        assert text_of(chunks) == "Hello"
        assert finish_of(chunks) == "stop"
        assert chunks[-1].usage is not None
        (sent,) = requests(gguf)
        assert sent["model"] == "tiny"


async def test_a_forced_function_arrives_as_a_call(tmp_path: Path) -> None:
    gguf = scripted(tmp_path, answer=['{"city": ', '"Rome"}'])
    async with local(gguf) as models:
        chunks = await drained(await models.chat(request("Hi", WEATHER, tool_choice="required")))
        id_, name, arguments = call_of(chunks)
        assert id_.startswith("call_")
        assert (name, arguments) == ("get_weather", {"city": "Rome"})
        assert finish_of(chunks) == "tool_calls"
        assert text_of(chunks) == ""


async def test_tools_and_images_that_are_left_out_are_logged_once_per_request(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}]
    asked = msgspec.structs.replace(
        request("Hi", WEATHER, TIME),
        messages=request().messages + request(parts).messages,
    )
    async with local(scripted(tmp_path)) as models:
        with capture_logs() as logged:
            await drained(await models.chat(asked))
        events = {entry["event"]: entry for entry in logged}
        assert events["local_tools_left_out"]["tools"] == 2
        assert events["local_images_left_out"]["images"] == 1


async def test_it_answers_again_after_its_process_was_replaced(tmp_path: Path) -> None:
    gguf = scripted(tmp_path, answer=["Hello"])
    async with local(gguf) as models:
        await drained(await models.chat(request()))
        os.kill(starts(gguf)[0]["pid"], signal.SIGKILL)
        with anyio.fail_after(ENOUGH_SECONDS):
            while len(starts(gguf)) == 1:
                await models.start()
        assert text_of(await drained(await models.chat(request()))) == "Hello"


async def test_a_passed_through_request_reaches_the_model(tmp_path: Path) -> None:
    gguf = scripted(tmp_path, answer=["Hello"])
    async with local(gguf) as models:
        answer = await models.forward("/chat/completions", b'{"model": "any"}', content_type="application/json")
        body = b"".join([piece async for piece in answer.pieces()])
        await answer.close()
        assert answer.status == 200
        assert b"Hello" in body
        assert requests(gguf) == [{"model": "any"}]


async def test_it_lists_one_model_without_being_started(tmp_path: Path) -> None:
    async with local(tmp_path / "none") as models:
        (model,) = await models.models()
        assert (model.id, model.owned_by) == ("tiny", "local")


async def test_each_slot_is_a_quarter_larger_than_the_window_that_it_promises(tmp_path: Path) -> None:
    gguf = scripted(tmp_path)
    async with local(gguf, context_window_tokens=1000, slots=2) as models:
        await models.start()
        assert models.context_window("any") == 1000
        order = starts(gguf)[0]["order"]
        assert (order["slot_tokens"], order["slots"]) == (1250, 2)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct"),
        ("Qwen2.5-0.5B-Instruct-Q4_K_M.gguf", "qwen2.5-0.5b-instruct"),
        ("model-F16.gguf", "model"),
        ("model-iq4_xs.gguf", "model"),
        ("plain.gguf", "plain"),
    ],
)
def test_a_model_is_named_as_its_file_without_the_quantization(file: str, name: str) -> None:
    assert model_name(Path("folder") / file) == name


# --- the real model

FETCHED = Path(__file__).parents[2] / "data" / "weights" / SMOLLM2.files[0].name


@pytest.fixture
def real_gguf() -> Path:
    named = Path(os.environ.get("UNDERSTUDY_TEST_GGUF", FETCHED))
    # A run that is to prove something must not pass because nothing was tried.
    say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
    if "UNDERSTUDY_TEST_GGUF" not in os.environ and os.environ.get("CI") != "true":
        say(f"the real stand-in takes its time: UNDERSTUDY_TEST_GGUF={FETCHED} (and `make local`) tries it")
    if not named.exists():
        say(f"the stand-in's weights are not in {FETCHED.parent} (`make local` fetches them)")
    if importlib.util.find_spec("xllamacpp") is None:
        say("xllamacpp is not installed (`make local` does that)")
    return named


async def test_the_real_model_answers_and_calls_forced_functions(real_gguf: Path) -> None:
    async with local(real_gguf, command=COMMAND) as models:
        began = time.monotonic()
        await models.start()
        loaded = time.monotonic()
        answer = await drained(await models.chat(request("Tell me about the sea.", WEATHER, max_tokens=100)))
        seconds = time.monotonic() - loaded
        usage = answer[-1].usage
        assert usage is not None
        print(f"load {loaded - began:.2f} s, {usage.completion_tokens / seconds:.0f} tokens/s")
        assert "sea" in text_of(answer).lower() or "ocean" in text_of(answer).lower()
        assert len(answer) > 10

        question = "What is the weather in Paris, in celsius?"
        choice = {"type": "function", "function": {"name": "get_weather"}}
        call = await drained(await models.chat(request(question, TIME, WEATHER, tool_choice=choice)))
        assert call_of(call)[1] == "get_weather"
        assert set(call_of(call)[2]) == {"city", "unit"}
        assert finish_of(call) == "tool_calls"

        call = await drained(await models.chat(request(question, TIME, WEATHER, tool_choice="required")))
        assert call_of(call)[1] in ("get_weather", "get_time")

        shape = {"type": "json_schema", "json_schema": {"name": "c", "schema": WEATHER["parameters"]}}
        assert set(json.loads(text_of(await drained(await models.chat(request(question, response_format=shape))))))


async def test_more_runs_than_slots_are_all_answered_by_the_real_model(real_gguf: Path) -> None:
    async with local(real_gguf, command=COMMAND) as models:
        answers: list[str] = []

        async def ask() -> None:
            answers.append(text_of(await drained(await models.chat(request("Say hello.", max_tokens=20)))))

        async with anyio.create_task_group() as asking:
            for _ in range(6):
                asking.start_soon(ask)
        assert len(answers) == 6
        assert all(answers)
