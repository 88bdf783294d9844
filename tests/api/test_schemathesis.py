"""Requests that nobody has thought of, made from /openapi.json: no answer crashes, and every answer is as documented.

Left out are the two operations whose requests and answers are the model server's business.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support.files import FORM, file_field, form, text_field
from support.threaded import ThreadedServer, threaded_server

# The last is left out for streams: the document shows an event's `data` as the object that its text is, as the vendor's
# does, and Schemathesis takes it by the letter.
CHECKS: Final = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
PASSED_THROUGH: Final = ("/chat/completions", "/embeddings")
EXAMPLES: Final = 8  # of each operation


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedServer]:
    # A run on an empty thread without instructions sends no messages, which strict model servers refuse.
    with threaded_server(tmp_path_factory.mktemp("server"), strict=False) as (running, _):
        yield running


@pytest.fixture(scope="module")
def places(server: ThreadedServer) -> dict[str, str]:
    """Real objects for the names of path parameters and for `assistant_id`."""
    assistant = server.request("POST", "/v1/assistants", {"model": "gpt-4o"}).body["id"]
    message = {"role": "user", "content": "What is 2+2?"}
    run = server.stream("/v1/threads/runs", {"assistant_id": assistant, "thread": {"messages": [message]}})[-2].data
    path = f"/v1/threads/{run['thread_id']}"
    messages = server.request("GET", f"{path}/messages").body["data"]
    steps = server.request("GET", f"{path}/runs/{run['id']}/steps").body["data"]
    sent = form(text_field("purpose", "assistants"), file_field("file", b"Hello", "a.txt", None))
    file = server.request("POST", "/v1/files", raw=sent, headers=FORM).body["id"]
    upload = {"filename": "a.txt", "purpose": "assistants", "bytes": 5, "mime_type": "text/plain"}
    store = server.request("POST", "/v1/vector_stores", {"file_ids": [file]}).body["id"]
    batch = server.request("POST", f"/v1/vector_stores/{store}/file_batches", {"file_ids": [file]}).body["id"]
    return {
        "vector_store_id": store,
        "batch_id": batch,
        "file_id": file,
        "upload_id": server.request("POST", "/v1/uploads", upload).body["id"],
        "assistant_id": assistant,
        "thread_id": run["thread_id"],
        "run_id": run["id"],
        "message_id": messages[0]["id"],
        "step_id": steps[0]["id"],
        "model": "scripted-1",
    }


def test_whatever_is_asked_the_answer_is_one_that_the_document_describes(
    server: ThreadedServer, places: Mapping[str, str]
) -> None:
    schema = schemathesis.openapi.from_dict(server.request("GET", "/v1/openapi.json").body)
    operations = [found.ok() for found in schema.get_all_operations()]
    with requests.Session() as session:
        for operation in operations:
            if operation.path not in PASSED_THROUGH:
                ask(operation, session, server, places)


def ask(operation: Any, session: requests.Session, server: ThreadedServer, places: Mapping[str, str]) -> None:
    @seed(2026)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), real=st.booleans())
    def answers(case: Any, real: bool) -> None:
        if real:
            for name in case.path_parameters or {}:
                case.path_parameters[name] = places.get(name, case.path_parameters[name])
            if isinstance(case.body, dict) and "assistant_id" in case.body:
                case.body["assistant_id"] = places["assistant_id"]
        headers = {"Authorization": f"Bearer {server.key}"}
        response = case.call(base_url=f"{server.url}/v1", session=session, headers=headers)
        streamed = response.headers["content-type"] == ["text/event-stream; charset=utf-8"]
        case.validate_response(response, checks=CHECKS[:3] if streamed else CHECKS)

    answers()
