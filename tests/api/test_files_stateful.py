"""Files come, go and are listed in assistants and threads, in whatever order: the server shows what sets would."""

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from support.files import FORM, file_field, form, text_field
from support.threaded import ThreadedServer, threaded_server


class Files(RuleBasedStateMachine):
    server: ClassVar[ThreadedServer]

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, dict[str, Any]] = {}
        self.gone: list[str] = []
        self.lists: dict[str, list[str]] = {}  # by the path of their assistant or thread

    def ask(self, method: str, path: str, body: Any = None, *, status: int = 200, **sent: Any) -> Any:
        answer = self.server.request(method, path, body, **sent)
        assert answer.status == status, f"{method} {path}: {answer.status} {answer.body}"
        return answer.body

    def some(self, data: st.DataObject) -> list[str]:
        return data.draw(st.lists(st.sampled_from(sorted(self.files)), unique=True)) if self.files else []

    @rule(content=st.binary(max_size=10))
    def send(self, content: bytes) -> None:
        raw = form(text_field("purpose", "assistants"), file_field("file", content, "a.txt", None))
        file = self.ask("POST", "/v1/files", raw=raw, headers=FORM)
        self.files[file["id"]] = file

    @rule(data=st.data(), kind=st.sampled_from(["assistants", "threads"]))
    def list_in_a_new_owner(self, data: st.DataObject, kind: str) -> None:
        ids = self.some(data)
        body = {"tool_resources": {"code_interpreter": {"file_ids": ids}}}
        made = self.ask("POST", f"/v1/{kind}", {**body, **({"model": "m"} if kind == "assistants" else {})})
        self.lists[f"/v1/{kind}/{made['id']}"] = ids

    @precondition(lambda self: self.lists)
    @rule(data=st.data())
    def change_a_list(self, data: st.DataObject) -> None:
        path, ids = data.draw(st.sampled_from(sorted(self.lists))), self.some(data)
        self.ask("POST", path, {"tool_resources": {"code_interpreter": {"file_ids": ids}}})
        self.lists[path] = ids

    @precondition(lambda self: self.lists and self.gone)
    @rule(data=st.data())
    def a_file_that_is_gone_is_not_listed_again(self, data: st.DataObject) -> None:
        ids = [*self.some(data), data.draw(st.sampled_from(self.gone))]
        path = data.draw(st.sampled_from(sorted(self.lists)))
        self.ask("POST", path, {"tool_resources": {"code_interpreter": {"file_ids": ids}}}, status=404)

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.files)))
        self.ask("DELETE", f"/v1/files/{id_}")
        self.ask("DELETE", f"/v1/files/{id_}", status=404)
        del self.files[id_]
        self.gone.append(id_)
        self.lists = {path: [one for one in ids if one != id_] for path, ids in self.lists.items()}

    @precondition(lambda self: self.lists)
    @rule(data=st.data())
    def delete_an_owner(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.lists)))
        self.ask("DELETE", path)
        del self.lists[path]

    @invariant()
    def everything_is_as_known(self) -> None:
        listed = {one["id"]: one for one in self.ask("GET", "/v1/files")["data"]}
        assert {id_: listed.get(id_) for id_ in self.files} == self.files
        assert not listed.keys() & set(self.gone)
        for path, ids in self.lists.items():
            assert self.ask("GET", path)["tool_resources"] == {"code_interpreter": {"file_ids": ids}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedServer]:
    with threaded_server(tmp_path_factory.mktemp("server")) as (running, _):
        yield running


def test_whatever_clients_do_with_files_every_list_shows_those_that_are_there(server: ThreadedServer) -> None:
    Files.server = server
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Files,
        settings=settings(
            max_examples=settings().max_examples // 5,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
