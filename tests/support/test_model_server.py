import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from support.model_server import (
    Call,
    Cut,
    ErrorChunk,
    Failure,
    Garbage,
    Interleaved,
    RawChunk,
    Refuse,
    Reply,
    ScriptedModel,
    Silence,
    Usage,
    model_in_thread,
)

USER = {"role": "user", "content": "Hi there"}


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as model:
        yield model


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def asked(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


async def frames(http: aiohttp.ClientSession, model: ScriptedModel, **body: Any) -> list[str]:
    request = {"model": "m", "messages": [USER], "stream": True, **body}
    async with http.post(model.base_url + "/chat/completions", json=request) as response:
        assert response.status == 200, await response.text()
        text = await response.text()
    return [frame.removeprefix("data: ") for frame in text.split("\n\n") if frame]


async def deltas(http: aiohttp.ClientSession, model: ScriptedModel, **body: Any) -> list[dict[str, Any]]:
    chunks = [json.loads(frame) for frame in (await frames(http, model, **body))[1:-1]]
    return [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"][0]["finish_reason"] is None]


async def complete(http: aiohttp.ClientSession, model: ScriptedModel, body: dict[str, Any]) -> tuple[int, Any]:
    async with http.post(model.base_url + "/chat/completions", json=body) as response:
        return response.status, await response.json()


async def test_an_unscripted_model_echoes_the_last_user_message(model: ScriptedModel, http: Any) -> None:
    assert await deltas(http, model) == [{"content": "Hi"}, {"content": " there"}]


async def test_scripted_text_arrives_in_the_given_pieces_and_ends_with_stop(model: ScriptedModel, http: Any) -> None:
    model.script(Reply("Hel", "lo"))
    found = await frames(http, model)
    assert found[-1] == "[DONE]"
    chunks = [json.loads(frame) for frame in found[:-1]]
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["", "Hel", "lo", None]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert all("usage" not in chunk for chunk in chunks)


async def test_usage_comes_in_a_last_chunk_only_when_asked_for(model: ScriptedModel, http: Any) -> None:
    model.script(Reply("x", usage=Usage(7, 3)), Reply("x", usage=None))
    found = await frames(http, model, stream_options={"include_usage": True})
    last = json.loads(found[-2])
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert json.loads(found[0])["usage"] is None
    unasked = await frames(http, model, stream_options={"include_usage": True})
    assert json.loads(unasked[-2])["choices"]


async def test_calls_behind_text_are_numbered_and_finish_with_tool_calls(model: ScriptedModel, http: Any) -> None:
    model.script(Reply("Let me see", Call("call_1", "f", '{"a"', ":1}"), Call("call_2", "g", "{}", whole=True)))
    found = [json.loads(frame) for frame in (await frames(http, model))[:-1]]
    assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"
    calls = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in found[2:-1]]
    assert calls == [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a"'}},
        {"index": 0, "function": {"arguments": ":1}"}},
        {"index": 1, "id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


async def test_interleaved_calls_take_turns(model: ScriptedModel, http: Any) -> None:
    model.script(Reply(Interleaved(Call("call_1", "f", "a", "b"), Call("call_2", "g", "c"))))
    pieces = [delta["tool_calls"][0] for delta in await deltas(http, model)]
    assert [piece["index"] for piece in pieces] == [0, 1, 0, 1, 0]
    assert [piece["function"]["arguments"] for piece in pieces] == ["", "", "a", "c", "b"]


async def test_calls_may_lack_their_index(model: ScriptedModel, http: Any) -> None:
    model.script(Reply(Call("call_1", "f", "{}", indexed=False)))
    pieces = [delta["tool_calls"][0] for delta in await deltas(http, model)]
    assert [("index" in piece, piece.get("id")) for piece in pieces] == [(False, "call_1"), (False, None)]


@pytest.mark.parametrize("finish", ["length", "content_filter", "tool_calls"])
async def test_the_finish_reason_is_as_scripted(model: ScriptedModel, http: Any, finish: Any) -> None:
    model.script(Reply("x", finish=finish))
    assert json.loads((await frames(http, model))[-2])["choices"][0]["finish_reason"] == finish


async def test_a_stream_may_end_without_reason_and_without_done(model: ScriptedModel, http: Any) -> None:
    model.script(Reply("x", finish="none", done=False))
    found = await frames(http, model)
    assert [json.loads(frame)["choices"][0]["finish_reason"] for frame in found] == [None, None]


async def test_refusals_garbage_raw_and_error_chunks_are_sent_as_they_are(model: ScriptedModel, http: Any) -> None:
    model.script(Reply(Refuse("I "), Refuse("can't"), Garbage("{oops"), RawChunk({"choices": []}), ErrorChunk("Full.")))
    found = await frames(http, model)
    assert [json.loads(frame)["choices"][0]["delta"]["refusal"] for frame in found[1:3]] == ["I ", "can't"]
    assert found[3] == "{oops"
    assert json.loads(found[4])["choices"] == []
    assert json.loads(found[5])["error"]["message"] == "Full."
    assert len(found) == 6


async def test_a_failure_carries_status_message_and_retry_after(model: ScriptedModel, http: Any) -> None:
    model.script(Failure(429, "Slow down.", type="requests", retry_after=1), Failure(503, body="busy"))
    async with http.post(model.base_url + "/chat/completions", json=asked("x")) as response:
        assert (response.status, response.headers["retry-after"]) == (429, "1")
        assert (await response.json())["error"]["message"] == "Slow down."
    async with http.post(model.base_url + "/chat/completions", json=asked("x")) as response:
        assert (response.status, await response.text()) == (503, "busy")


async def test_a_cut_connection_ends_behind_what_was_sent(model: ScriptedModel, http: Any) -> None:
    model.script(Reply("one", Cut(), "two"))
    seen = bytearray()

    async def read() -> None:
        async with http.post(model.base_url + "/chat/completions", json=asked("x", stream=True)) as response:
            async for piece in response.content.iter_any():
                seen.extend(piece)

    with pytest.raises(aiohttp.ClientPayloadError):
        await read()
    assert b"one" in seen
    assert b"two" not in seen
    assert model.disconnects == 0


async def test_silence_lasts_until_its_gate_opens(model: ScriptedModel, http: Any) -> None:
    gate = asyncio.Event()
    model.script(Reply("one", Silence(gate), "two"))
    answer = asyncio.create_task(deltas(http, model))
    await model.until(lambda: len(model.chats) == 1)
    assert not answer.done()
    gate.set()
    assert await answer == [{"content": "one"}, {"content": "two"}]


@pytest.mark.parametrize("before_headers", [True, False])
async def test_a_client_that_leaves_a_silent_model_is_counted(
    model: ScriptedModel, http: Any, before_headers: bool
) -> None:
    model.script(Reply(Silence(before_headers=before_headers), "never"))
    answer = asyncio.create_task(deltas(http, model))
    await model.until(lambda: len(model.chats) == 1)
    answer.cancel()
    await model.until(lambda: model.disconnects == 1)


async def test_closing_ends_a_silence_that_somebody_waits_in(http: Any) -> None:
    async with ScriptedModel() as model:
        model.script(Reply("one", Silence()))
        answer = asyncio.create_task(deltas(http, model))
        await model.until(lambda: len(model.chats) == 1)
    with pytest.raises(aiohttp.ClientError):
        await answer


async def test_a_plain_reply_is_one_object_though_a_stream_was_asked_for(model: ScriptedModel, http: Any) -> None:
    model.script(Reply("Hel", "lo", plain=True))
    status, body = await complete(http, model, asked("x", stream=True))
    assert (status, body["object"]) == (200, "chat.completion")
    assert body["choices"][0]["message"]["content"] == "Hello"


async def test_an_answer_that_is_not_streamed_has_text_calls_and_usage(model: ScriptedModel, http: Any) -> None:
    model.script(Reply("Wait", Call("call_1", "f", "{", "}"), usage=Usage(1, 2)))
    _, body = await complete(http, model, asked("x"))
    choice = body["choices"][0]
    assert choice["message"]["content"] == "Wait"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert choice["finish_reason"] == "tool_calls"
    assert body["usage"]["total_tokens"] == 3


async def test_rules_come_before_the_queue(model: ScriptedModel, http: Any) -> None:
    model.script(Reply("queued"))
    model.rule(lambda request: request.body.get("seed") == 1, Reply("ruled"))
    assert await deltas(http, model, seed=1) == [{"content": "ruled"}]
    assert await deltas(http, model) == [{"content": "queued"}]
    assert await deltas(http, model, seed=1) == [{"content": "ruled"}]


async def test_requests_are_recorded_and_can_be_read_over_http(model: ScriptedModel, http: Any) -> None:
    await complete(http, model, asked("needle"))
    await complete(http, model, asked("hay"))
    assert [request.body["messages"][0]["content"] for request in model.chats] == ["needle", "hay"]
    async with http.get(model.base_url.removesuffix("/v1") + "/__requests?contains=needle") as response:
        found = await response.json()
    assert [request["path"] for request in found] == ["/chat/completions"]
    assert found[0]["headers"]["content-type"] == "application/json"


async def test_a_wrong_key_is_refused_when_one_is_wanted(http: Any) -> None:
    async with ScriptedModel(api_key="sk-right") as model:
        assert (await complete(http, model, asked("x")))[0] == 401
        headers = {"authorization": "Bearer sk-right"}
        async with http.get(model.base_url + "/models", headers=headers) as response:
            assert [row["id"] for row in (await response.json())["data"]] == ["scripted-1"]


async def test_embeddings_of_texts_that_share_words_are_near(model: ScriptedModel, http: Any) -> None:
    texts = ["red apples fall", "red apples rise", "quiet grey harbour"]
    async with http.post(model.base_url + "/embeddings", json={"model": "e", "input": texts}) as response:
        rows = (await response.json())["data"]
    vectors = [row["embedding"] for row in rows]
    near, far = (sum(a * b for a, b in zip(vectors[0], vectors[n], strict=True)) for n in (1, 2))
    assert near > far


async def test_leaving_fails_when_a_request_was_malformed(http: Any) -> None:
    async def ask_wrongly() -> None:
        async with ScriptedModel() as model:
            status, body = await complete(http, model, asked("x", tools=[]))
            assert (status, body["error"]["message"]) == (400, "'tools' is empty")

    with pytest.raises(AssertionError, match="requests that strict model servers refuse:\n'tools' is empty"):
        await ask_wrongly()


async def test_a_lax_model_takes_what_a_strict_one_refuses(http: Any) -> None:
    async with ScriptedModel(strict=False) as model:
        assert (await complete(http, model, asked("x", tools=[])))[0] == 200


def test_a_model_in_a_thread_serves_other_processes() -> None:
    with model_in_thread(ScriptedModel()) as model:
        assert model.base_url.startswith("http://127.0.0.1:")
