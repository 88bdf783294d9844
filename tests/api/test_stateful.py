"""Whatever a client does, in whatever order, the server shows what a dictionary would."""

from collections.abc import Iterator
from typing import Any, ClassVar, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import Struct

from support.talk import WEATHER, sent
from support.threaded import ThreadedServer, threaded_server

WORDS = st.sampled_from(["one", "two words", "drei", "🐙", "  spaced  "])
METADATA = st.dictionaries(st.sampled_from(["a", "b"]), WORDS, max_size=2)
# What the model is asked to do, how the run rests then, and what has been said by then.
ASKED: Final[dict[str, tuple[str, str | None]]] = {
    "@say Four.": ("completed", "Four."),
    "@refuse No.": ("completed", None),
    "@length Too long": ("incomplete", "Too long"),
    "@fail 400 No.": ("failed", None),
    "@cut Half": ("failed", "Half"),
    '@call weather {"city": "Oslo"}': ("requires_action", None),
    "@saycall weather {}": ("requires_action", "Let me look that up."),
    '@calls [{"name": "weather", "arguments": {}}, {"name": "weather", "arguments": {}}]': ("requires_action", None),
}


class KnownRun(Struct):
    """A run as the client knows it."""

    id: str
    status: str
    calls: list[str]


class KnownThread(Struct):
    """A thread as the client knows it: messages by id, with their texts; `None` is a refusal's."""

    id: str
    metadata: dict[str, str]
    messages: dict[str, str | None] = {}
    runs: dict[str, KnownRun] = {}
    deleted: bool = False

    @property
    def path(self) -> str:
        return f"/v1/threads/{self.id}"

    @property
    def busy(self) -> bool:
        return any(run.status == "requires_action" for run in self.runs.values())


class Understudy(RuleBasedStateMachine):
    server: ClassVar[ThreadedServer]
    assistants = Bundle("assistants")
    threads = Bundle("threads")

    def __init__(self) -> None:
        super().__init__()
        self.known_assistants: dict[str, dict[str, Any]] = {}
        self.known_threads: list[KnownThread] = []

    def ask(self, method: str, path: str, body: Any = None, *, status: int = 200, **query: Any) -> Any:
        answer = self.server.request(method, path, body, params=query)
        assert answer.status == status, f"{method} {path}: {answer.status} {answer.body}"
        return answer.body if status == 200 else answer.error

    # --- assistants

    @initialize(target=assistants)
    def first_assistant(self) -> str:
        return self.create_assistant("first", {})

    @precondition(lambda self: len(self.known_assistants) < 2)
    @rule(target=assistants, name=WORDS, metadata=METADATA)
    def create_assistant(self, name: str, metadata: dict[str, str]) -> str:
        made = self.ask("POST", "/v1/assistants", {"model": "scripted-1", "name": name, "metadata": metadata})
        self.known_assistants[made["id"]] = made
        return str(made["id"])

    @rule(id_=assistants, name=WORDS)
    def modify_assistant(self, id_: str, name: str) -> None:
        if id_ not in self.known_assistants:
            self.ask("POST", f"/v1/assistants/{id_}", {"name": name}, status=404)
            return
        changed = self.ask("POST", f"/v1/assistants/{id_}", {"name": name})
        assert changed == {**self.known_assistants[id_], "name": name}
        self.known_assistants[id_] = changed

    @precondition(lambda self: len(self.known_assistants) > 1)
    @rule(id_=assistants)
    def delete_assistant(self, id_: str) -> None:
        known = self.known_assistants.pop(id_, None)
        self.ask("DELETE", f"/v1/assistants/{id_}", status=200 if known else 404)

    @invariant()
    def newest_assistants_are_ours(self) -> None:
        if self.known_assistants:
            page = self.ask("GET", "/v1/assistants", limit=len(self.known_assistants))
            assert page["data"] == list(self.known_assistants.values())[::-1]

    # --- threads and messages

    @initialize(target=threads)
    def first_thread(self) -> KnownThread:
        return self.create_thread(["one"], {})

    @precondition(lambda self: sum(not thread.deleted for thread in self.known_threads) < 2)
    @rule(target=threads, texts=st.lists(WORDS, max_size=3), metadata=METADATA)
    def create_thread(self, texts: list[str], metadata: dict[str, str]) -> KnownThread:
        messages = [{"role": "user", "content": text} for text in texts]
        made = self.ask("POST", "/v1/threads", {"messages": messages, "metadata": metadata})
        thread = KnownThread(made["id"], metadata)
        for text, shown in zip(texts, self.page(thread, "messages"), strict=True):
            thread.messages[shown["id"]] = text
        self.known_threads.append(thread)
        return thread

    @precondition(lambda self: sum(not thread.deleted for thread in self.known_threads) > 1)
    @rule(thread=threads)
    def delete_thread(self, thread: KnownThread) -> None:
        self.ask("DELETE", thread.path, status=404 if thread.deleted else 200)
        thread.deleted = True

    @rule(thread=threads, text=WORDS)
    def add_message(self, thread: KnownThread, text: str) -> None:
        status = 404 if thread.deleted else 400 if thread.busy else 200
        made = self.ask("POST", f"{thread.path}/messages", {"role": "user", "content": text}, status=status)
        if status == 200:
            thread.messages[made["id"]] = text

    @rule(thread=threads, number=st.integers(0, 20))
    def delete_message(self, thread: KnownThread, number: int) -> None:
        if thread.messages:
            id_ = list(thread.messages)[number % len(thread.messages)]
            self.ask("DELETE", f"{thread.path}/messages/{id_}", status=404 if thread.deleted else 200)
            if not thread.deleted:
                del thread.messages[id_]

    # --- runs

    @rule(thread=threads, assistant=assistants, asked=st.sampled_from(list(ASKED)))
    def run(self, thread: KnownThread, assistant: str, asked: str) -> None:
        body: dict[str, Any] = {
            "assistant_id": assistant,
            "tools": [WEATHER],
            "additional_messages": [{"role": "user", "content": asked}],
        }
        if thread.deleted or assistant not in self.known_assistants or thread.busy:
            status = 404 if thread.deleted or assistant not in self.known_assistants else 400
            self.ask("POST", f"{thread.path}/runs", body, status=status)
            return
        shown = self.server.stream(f"{thread.path}/runs", body)[-2].data
        self.note_run(thread, shown)
        status_, said = ASKED[asked]
        assert shown["status"] == status_
        self.note_messages(thread, [asked, *([said] if said or asked.startswith("@refuse") else [])])

    @rule(thread=threads, number=st.integers(0, 3), complete=st.booleans())
    def submit(self, thread: KnownThread, number: int, complete: bool) -> None:
        run = self.some_run(thread, number)
        if run is None:
            return
        path = f"{thread.path}/runs/{run.id}/submit_tool_outputs"
        outputs = sent(dict.fromkeys(run.calls if complete else ["call_unknown"], "Sunny"))
        if thread.deleted or run.status != "requires_action" or not complete:
            self.ask("POST", path, outputs, status=404 if thread.deleted else 400)
            return
        shown = self.server.stream(path, outputs)[-2].data
        assert shown["status"] == "completed"
        self.note_messages(thread, ["The tools say: " + "; ".join(["Sunny"] * len(run.calls))])
        self.note_run(thread, shown)

    @rule(thread=threads, number=st.integers(0, 3))
    def cancel(self, thread: KnownThread, number: int) -> None:
        run = self.some_run(thread, number)
        if run is None:
            return
        status = 404 if thread.deleted else 200 if run.status == "requires_action" else 400
        self.ask("POST", f"{thread.path}/runs/{run.id}/cancel", status=status)
        if status == 200:
            self.note_run(thread, self.ask("GET", f"{thread.path}/runs/{run.id}"))
            assert thread.runs[run.id].status == "cancelled"

    # --- lists

    @rule(thread=threads, limit=st.integers(1, 4), kind=st.sampled_from(["messages", "runs"]))
    def page_through(self, thread: KnownThread, limit: int, kind: str) -> None:
        if thread.deleted:
            self.ask("GET", f"{thread.path}/{kind}", status=404)
            return
        known = list(thread.messages if kind == "messages" else thread.runs)
        found: list[str] = []
        query: dict[str, Any] = {"limit": limit, "order": "desc"}
        while True:
            page = self.ask("GET", f"{thread.path}/{kind}", **query)
            found += [shown["id"] for shown in page["data"]]
            if not page["has_more"]:
                break
            query["after"] = page["last_id"]
        assert found == known[::-1]

    @rule(thread=threads)
    def look(self, thread: KnownThread) -> None:
        if thread.deleted:
            self.ask("GET", thread.path, status=404)
            return
        assert self.ask("GET", thread.path)["metadata"] == thread.metadata
        texts = {shown["id"]: text_of(shown) for shown in self.page(thread, "messages")}
        assert texts == thread.messages
        assert {shown["id"]: shown["status"] for shown in self.page(thread, "runs")} == {
            run.id: run.status for run in thread.runs.values()
        }

    # --- what the client knows

    def page(self, thread: KnownThread, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", f"{thread.path}/{kind}", limit=100, order="asc")["data"]
        return found

    def note_run(self, thread: KnownThread, shown: dict[str, Any]) -> None:
        action = shown["required_action"]
        calls = [call["id"] for call in action["submit_tool_outputs"]["tool_calls"]] if action else []
        thread.runs[shown["id"]] = KnownRun(shown["id"], shown["status"], calls)
        assert (shown["usage"] is None) == (shown["status"] == "requires_action")

    def note_messages(self, thread: KnownThread, texts: list[str | None]) -> None:
        new = [shown for shown in self.page(thread, "messages") if shown["id"] not in thread.messages]
        assert [text_of(shown) for shown in new] == texts
        thread.messages.update({shown["id"]: text_of(shown) for shown in new})

    def some_run(self, thread: KnownThread, number: int) -> KnownRun | None:
        """The newest one, mostly."""
        runs = list(thread.runs.values())
        return runs[-1 if number else 0] if runs else None


def text_of(message: dict[str, Any]) -> str | None:
    part = message["content"][0]
    return part["text"]["value"] if part["type"] == "text" else None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedServer]:
    with threaded_server(tmp_path_factory.mktemp("server")) as (running, _):
        yield running


def test_the_server_shows_what_a_dictionary_would(server: ThreadedServer) -> None:
    class Ours(Understudy):
        pass

    Ours.server = server
    run_state_machine_as_test(
        Ours,
        settings=settings(
            max_examples=15,
            stateful_step_count=40,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
