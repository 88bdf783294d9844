import functools
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.requests import Request
from starlette.responses import Response

from support.bodies import mutated_bodies, valid_bodies
from support.client import Client
from understudy.api.decode import decode_body
from understudy.api.openapi import document
from understudy.api.operation import Operation
from understudy.core.errors import InvalidField
from understudy.wire.assistants import Assistant, CreateAssistant, UpdateAssistant
from understudy.wire.base import Deleted, Object
from understudy.wire.events import PAYLOADS
from understudy.wire.lists import IncludeQuery, ListMessagesQuery, ListQuery, ListStepsQuery, Page
from understudy.wire.messages import CreateMessage, Message
from understudy.wire.models import Models
from understudy.wire.runs import CreateRun, CreateThreadAndRun, Run, SubmitToolOutputs
from understudy.wire.steps import RunStep
from understudy.wire.threads import CreateThread, Thread

Json = dict[str, Any]
QUICK = settings(max_examples=40, deadline=None)


async def unused(_: Request) -> Response:
    raise NotImplementedError


def operation(line: str, id_: str, **fields: Any) -> Operation:
    method, path = line.split()
    return Operation(method=method, path=path, id=id_, summary=f"Summary of {id_}", tag="Tag", handler=unused, **fields)


RUN = "/threads/{thread_id}/runs/{run_id}"
OPERATIONS = [
    operation("POST /assistants", "createAssistant", body=CreateAssistant, body_required=True, answer=Assistant),
    operation("GET /assistants", "listAssistants", query=ListQuery, answer=Page, item=Assistant),
    operation("POST /assistants/{assistant_id}", "modifyAssistant", body=UpdateAssistant, answer=Assistant),
    operation("DELETE /assistants/{assistant_id}", "deleteAssistant", answer=Deleted),
    operation("POST /threads", "createThread", body=CreateThread, answer=Thread),
    operation(
        "POST /threads/runs",
        "createThreadAndRun",
        body=CreateThreadAndRun,
        body_required=True,
        answer=Run,
        streams=True,
    ),
    operation("POST /threads/{thread_id}/messages", "createMessage", body=CreateMessage, answer=Message, queues=True),
    operation("GET /threads/{thread_id}/messages", "listMessages", query=ListMessagesQuery, answer=Page, item=Message),
    operation(
        "POST /threads/{thread_id}/runs", "createRun", body=CreateRun, query=IncludeQuery, answer=Run, streams=True
    ),
    operation(f"GET {RUN}/steps", "listRunSteps", query=ListStepsQuery, answer=Page, item=RunStep),
    operation(f"POST {RUN}/submit_tool_outputs", "submitToolOuputsToRun", body=SubmitToolOutputs, answer=Run),
    operation("GET /models", "listModels", answer=Models),
    operation("GET /models/{model:path}", "retrieveModel"),
]


@functools.cache
def described() -> Json:
    return document(OPERATIONS, version="1.2.3")


def schema(name: str) -> Json:
    found: Json = described()["components"]["schemas"][name]
    return found


@functools.cache
def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": described()["components"]})


def parameters(path: str, method: str) -> dict[str, Json]:
    return {parameter["name"]: parameter for parameter in described()["paths"][path][method]["parameters"]}


def test_the_document_is_valid_openapi() -> None:
    assert list(OpenAPIV31SpecValidator(described()).iter_errors()) == []
    assert described()["info"]["version"] == "1.2.3"


def test_the_document_is_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(described())) == described()


def test_every_operation_is_there_under_its_id() -> None:
    ids = {one["operationId"] for methods in described()["paths"].values() for one in methods.values()}
    assert ids == {one.id for one in OPERATIONS}


def test_no_schema_is_left_over() -> None:
    text = msgspec.json.encode(described()).decode()
    assert [name for name in described()["components"]["schemas"] if f'schemas/{name}"' not in text] == []


def test_names_tell_requests_from_answers() -> None:
    names = set(described()["components"]["schemas"])
    assert {"CreateRunRequest", "FunctionToolParam", "FunctionTool", "ListRunStepsResponse", "ErrorResponse"} <= names
    assert not {name for name in names if name.endswith(("Body", "Query", "Page"))}
    assert all(schema(name).get("title", name) == name for name in names)


def test_two_structs_of_one_name_are_an_error_of_the_program() -> None:
    class Assistant(Object, frozen=True, kw_only=True):
        id: str

    with pytest.raises(ValueError, match="one name"):
        document([*OPERATIONS, operation("GET /other", "getOther", answer=Assistant)], version="1")


def test_path_parameters_are_required_strings_and_lose_their_convertor() -> None:
    assert parameters("/models/{model}", "get")["model"] == {
        "name": "model",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
    }


def test_what_may_wait_for_a_busy_thread_says_with_which_header() -> None:
    assert parameters("/threads/{thread_id}/messages", "post")["Understudy-Busy-Thread"] == {
        "name": "Understudy-Busy-Thread",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "enum": ["refuse", "queue"]},
    }
    assert "Understudy-Busy-Thread" not in parameters("/threads/{thread_id}/messages", "get")


def test_query_parameters_say_their_limits() -> None:
    found = parameters("/threads/{thread_id}/runs/{run_id}/steps", "get")
    assert list(found) == ["thread_id", "run_id", "limit", "order", "after", "before", "include[]"]
    assert found["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    assert found["after"]["schema"] == {"type": "string"}
    assert found["include[]"]["explode"] is True


def test_a_list_says_what_its_items_are() -> None:
    page = schema("ListAssistantsResponse")
    assert page["properties"]["data"] == {"type": "array", "items": {"$ref": "#/components/schemas/Assistant"}}
    assert page["required"] == ["object", "data", "first_id", "last_id", "has_more"]


def test_only_a_required_body_is_required() -> None:
    assert described()["paths"]["/assistants"]["post"]["requestBody"]["required"] is True
    assert described()["paths"]["/threads"]["post"]["requestBody"]["required"] is False


def test_a_stream_names_all_its_events() -> None:
    answer = described()["paths"]["/threads/runs"]["post"]["responses"]["200"]["content"]
    assert list(answer) == ["application/json", "text/event-stream"]
    frames = schema("StreamEvent")["oneOf"]
    names = [name for frame in frames for name in frame["properties"]["event"]["enum"]]
    assert sorted(names) == sorted([*PAYLOADS, "error", "done"])


def test_without_streams_there_are_no_frames() -> None:
    schemas = document([operation("GET /models", "listModels", answer=Models)], version="1")["components"]["schemas"]
    assert set(schemas) == {"Model", "Models", "Error", "ErrorResponse"}


def test_patterns_are_written_for_every_language() -> None:
    assert schema("FunctionParam")["properties"]["name"]["pattern"] == "^[a-zA-Z0-9_-]+$"


@pytest.mark.parametrize("type_", [Assistant, Thread, Message, Run, RunStep, Deleted])
@QUICK
@given(st.data())
def test_what_is_served_is_as_described(type_: type[Object], data: st.DataObject) -> None:
    served = msgspec.to_builtins(msgspec.convert(data.draw(valid_bodies(type_)), type_))
    validator(type_.__name__).validate(served)
    missing = data.draw(st.sampled_from(schema(type_.__name__)["required"]))
    del served[missing]
    assert not validator(type_.__name__).is_valid(served)


@pytest.mark.parametrize("type_", [CreateAssistant, UpdateAssistant, CreateThreadAndRun, CreateRun, CreateMessage])
@QUICK
@given(st.data())
def test_what_is_accepted_is_as_described(type_: type[Any], data: st.DataObject) -> None:
    body = data.draw(mutated_bodies(type_))
    assume(not _is_read_otherwise(body))
    try:
        decode_body(msgspec.json.encode(body), type_)
        accepted = True
    except InvalidField:
        accepted = False
    assert validator(f"{type_.__name__}Request").is_valid(body) == accepted


def _is_read_otherwise(tree: Any) -> bool:
    """JSON Schema calls 1.0 an integer, and Python's validator lets `$` match before a last line break."""
    match tree:
        case float():
            return tree.is_integer()
        case str():
            return tree.endswith("\n")
        case dict():
            return any(map(_is_read_otherwise, tree.values()))
        case list():
            return any(map(_is_read_otherwise, tree))
        case _:
            return False


async def test_the_served_document_is_valid_and_names_every_operation_once(client: Client) -> None:
    served = await client.get("/v1/openapi.json")
    assert list(OpenAPIV31SpecValidator(served).iter_errors()) == []
    ids = [one["operationId"] for methods in served["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))
    assert {"createThreadAndRun", "submitToolOuputsToRun", "listAssistants"} <= set(ids)
