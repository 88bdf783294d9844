"""Each message is stored with what it costs in a prompt, so that truncating a long thread is a sum."""

from collections.abc import Sequence

import pytest

from support.model_replies import Part
from support.model_server import Call, Cut, Reply, ScriptedModel
from support.server import RunningServer
from support.talk import WEATHER, Talk
from understudy.core.chat.context import message_tokens
from understudy.core.ids import ThreadId
from understudy.store.opening import open_store
from understudy.tokens import SplintrTokens


@pytest.mark.parametrize(
    ("parts", "finish"),
    [
        (["Four ", "it is."], None),
        (["Half an answer", Cut()], None),
        (["Cut by a limit"], "length"),
        (["Let me see.", Call("call_a", "weather", "{}")], None),
    ],
    ids=["completed", "failed", "incomplete", "before-calls"],
)
async def test_whatever_became_of_a_message_its_tokens_are_counted(
    server: RunningServer, model: ScriptedModel, parts: Sequence[Part], finish: None
) -> None:
    talk = await Talk.begin(server.client, tools=[WEATHER])
    model.script(Reply(*parts, finish=finish))
    await talk.stream()
    store = await open_store(server.settings.database)
    stored = await store.recent_messages(ThreadId(talk.thread["id"]), before=None, limit=10)
    await store.close()
    assert len(stored) == 2
    for one in stored:
        assert one.tokens == message_tokens(one.message, SplintrTokens().count)
