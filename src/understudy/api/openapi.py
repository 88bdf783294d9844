"""`/openapi.json`: what is served, from the operations and the structs that serve it. OpenAPI 3.1."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, get_args

import msgspec
from msgspec import UNSET, Struct

from understudy.api.busy import BUSY_THREAD, CHOICES
from understudy.api.decode.annotations import published_pattern
from understudy.api.operation import Operation
from understudy.wire.base import Body, JsonObject, Object
from understudy.wire.events import PAYLOADS
from understudy.wire.lists import Page

_REF: Final = "#/components/schemas/"
_PATH_PARAMETER: Final = re.compile(r"{(\w+)(?::\w+)?}")

_ERROR: Final[JsonObject] = {
    "type": "object",
    "required": ["message", "type", "param", "code"],
    "properties": {
        "message": {"type": "string"},
        "type": {"type": "string"},
        "param": {"type": ["string", "null"]},
        "code": {"type": ["string", "null"]},
    },
}


def document(operations: Sequence[Operation], *, version: str) -> JsonObject:
    """The OpenAPI document of these operations, as a JSON tree."""
    schemas = _Schemas(operations)
    paths: dict[str, JsonObject] = {}
    for operation in operations:
        methods = paths.setdefault(_PATH_PARAMETER.sub(r"{\1}", operation.path), {})
        methods[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Understudy",
            "summary": "The Assistants API v2, for any model server that speaks Chat Completions.",
            "version": version,
        },
        "servers": [{"url": "/v1"}],
        "security": [{"bearer": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Error": {"description": "A refusal, or a failure.", "content": _json(_ref("ErrorResponse"))}
            },
            "schemas": {
                **schemas.of_structs(),
                **{_page_name(operation): schemas.page(operation.item) for operation in operations if operation.item},
                **({"StreamEvent": schemas.stream_event()} if any(one.streams for one in operations) else {}),
                "Error": _ERROR,
                "ErrorResponse": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": _ref("Error")},
                },
            },
        },
    }


# --- one operation


def _operation(operation: Operation, schemas: "_Schemas") -> JsonObject:
    error = {"$ref": "#/components/responses/Error"}
    described: JsonObject = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [
            *_path_parameters(operation),
            *_query_parameters(operation, schemas),
            *_header_parameters(operation),
        ],
        "responses": {"200": _answer(operation, schemas), "4XX": error, "5XX": error},
    }
    if operation.body is not None:
        described["requestBody"] = {"required": operation.body_required, "content": _body(operation, schemas)}
    return described


def _body(operation: Operation, schemas: "_Schemas") -> JsonObject:
    assert operation.body is not None
    if operation.file_field is None:
        return _json(schemas.ref(operation.body))
    return {"multipart/form-data": {"schema": schemas.form(operation.body, operation.file_field)}}


def _answer(operation: Operation, schemas: "_Schemas") -> JsonObject:
    content: JsonObject = {}
    if operation.item is not None:
        content |= _json(_ref(_page_name(operation)))
    elif operation.answer is not None:
        content |= _json(schemas.ref(operation.answer))
    if operation.downloads:
        content["*/*"] = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
    if operation.streams:
        content["text/event-stream"] = {"schema": _ref("StreamEvent")}
    return {"description": "OK", "content": content} if content else {"description": "OK"}


def _path_parameters(operation: Operation) -> Iterator[JsonObject]:
    for name in _PATH_PARAMETER.findall(operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(operation: Operation, schemas: "_Schemas") -> Iterator[JsonObject]:
    if operation.query is None:
        return
    for name, schema in schemas.properties(operation.query).items():
        parameter = {"name": name, "in": "query", "required": False}
        if schema.get("type") == "array":
            yield {**parameter, "name": f"{name}[]", "style": "form", "explode": True, "schema": schema}
        else:
            yield {**parameter, "schema": _without_null(schema)}


def _header_parameters(operation: Operation) -> Iterator[JsonObject]:
    if operation.queues:
        schema = {"type": "string", "enum": [*CHOICES]}
        yield {"name": BUSY_THREAD, "in": "header", "required": False, "schema": schema}


def _without_null(schema: JsonObject) -> JsonObject:
    """A URL cannot say null: what is left of a choice between something and null."""
    match schema:
        case {"anyOf": [dict() as given, {"type": "null"}]}:
            return given
        case _:
            return schema


def _page_name(operation: Operation) -> str:
    return f"{operation.id[0].upper()}{operation.id[1:]}Response"


def _json(schema: JsonObject) -> JsonObject:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> JsonObject:
    return {"$ref": f"{_REF}{name}"}


# --- schemas


class _Schemas:
    """The structs that the operations speak of, as JSON Schema, under names that tell requests from answers."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        bodies = {operation.body for operation in operations if operation.body is not None}
        queries = {operation.query for operation in operations if operation.query is not None}
        answers = {type_ for operation in operations for type_ in (operation.answer, operation.item) if type_}
        streamed = PAYLOADS.values() if any(operation.streams for operation in operations) else ()
        self._unnamed = {*queries, Page}
        structs = list(_structs_within([*bodies, *queries, *answers, *streamed, Page]))
        refs, components = msgspec.json.schema_components(structs, ref_template=f"{_REF}{{name}}")
        self._names = {struct: _name(struct, bodies) for struct in structs}
        if len(set(self._names.values())) < len(structs):
            raise ValueError(f"two schemas have one name among {sorted(self._names.values())}")
        # msgspec's own names, which are longer than a class's where two classes have the same.
        keys = [str(ref["$ref"]).removeprefix(_REF) for ref in refs]
        renamed = {f"{_REF}{key}": f"{_REF}{self._names[struct]}" for key, struct in zip(keys, structs, strict=True)}
        self._schemas = {
            struct: _as_served(struct, {**_published(components[key], renamed), "title": self._names[struct]})
            for key, struct in zip(keys, structs, strict=True)
        }

    def of_structs(self) -> JsonObject:
        """By name, in the alphabet's order."""
        named = {self._names[struct]: self._schemas[struct] for struct in self._schemas if struct not in self._unnamed}
        return dict(sorted(named.items()))

    def ref(self, struct: type[Struct]) -> JsonObject:
        return _ref(self._names[struct])

    def properties(self, struct: type[Struct]) -> dict[str, JsonObject]:
        properties: dict[str, JsonObject] = self._schemas[struct]["properties"]
        return properties

    def form(self, struct: type[Struct], file_field: str) -> JsonObject:
        """The fields of a form, the file first."""
        file = {"type": "string", "contentMediaType": "application/octet-stream"}
        fields = self._schemas[struct]
        return {
            **fields,
            "properties": {file_field: file, **fields["properties"]},
            "required": [file_field, *fields.get("required", [])],
        }

    def page(self, item: type[Struct]) -> JsonObject:
        """The list envelope with its items' type, which the struct, whose items are JSON already, does not know."""
        properties = {**self.properties(Page), "data": {"type": "array", "items": self.ref(item)}}
        return {"type": "object", "properties": properties, "required": self._schemas[Page]["required"]}

    def stream_event(self) -> JsonObject:
        """One frame of a stream: its `event` line, and the JSON of its `data` line."""
        names_by_payload: dict[type[Struct], list[str]] = {}
        for name, payload in PAYLOADS.items():
            names_by_payload.setdefault(payload, []).append(name)
        failed = {
            **_ERROR,
            "required": ["error", *_ERROR["required"]],
            "properties": {"error": _ref("Error"), **_ERROR["properties"]},
        }
        return {
            "description": "One frame: its `event` line, and its `data` line read as JSON. `done` ends the stream; "
            "`thread.created` comes only where the request creates the thread.",
            "oneOf": [
                *(_frame(names, self.ref(payload)) for payload, names in names_by_payload.items()),
                _frame(["error"], failed),
                _frame(["done"], {"const": "[DONE]", "description": "These characters, without quotes."}),
            ],
        }


def _frame(names: Sequence[str], payload: JsonObject) -> JsonObject:
    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {"event": {"type": "string", "enum": list(names)}, "data": payload},
    }


def _structs_within(annotations: Iterable[Any]) -> dict[type[Struct], None]:
    """All structs that the annotations lead to, each once, in the order of their names."""
    found: set[type[Struct]] = set()
    waiting = list(annotations)
    while waiting:
        annotation = waiting.pop()
        if not (isinstance(annotation, type) and issubclass(annotation, Struct)):
            waiting.extend(get_args(annotation))
        elif annotation not in found:
            found.add(annotation)
            waiting.extend(field.type for field in msgspec.structs.fields(annotation))
    return dict.fromkeys(sorted(found, key=lambda struct: (struct.__name__, struct.__module__)))


def _name(struct: type[Struct], bodies: set[type[Struct]]) -> str:
    """`CreateRunRequest` for a whole body, `FunctionToolParam` for `FunctionToolBody`, else the struct's own name."""
    if struct in bodies:
        return f"{struct.__name__}Request"
    if issubclass(struct, Body) and struct.__name__.endswith("Body"):
        return f"{struct.__name__.removesuffix('Body')}Param"
    return struct.__name__


def _as_served(struct: type[Struct], schema: JsonObject) -> JsonObject:
    """An answer's schema demands every key that is always there; msgspec's demands only those without a default."""
    if not issubclass(struct, Object):
        return schema
    tag_field = struct.__struct_config__.tag_field
    fields = msgspec.structs.fields(struct)
    always = [field.encode_name for field in fields if field.default is not UNSET]
    properties = {
        name: {key: value for key, value in property_.items() if key != "default"}
        for name, property_ in schema["properties"].items()
    }
    return {**schema, "properties": properties, "required": [*([tag_field] if tag_field else []), *always]}


def _published(schema: Any, renamed: dict[str, str]) -> Any:
    """A schema with the components' names, and what msgspec leaves out or writes in Python's manner, put right."""
    match schema:
        case {"enum": [str(), *_]}:
            return {"type": "string", **schema}
        case {"pattern": str(pattern)}:
            return {**schema, "pattern": published_pattern(pattern)}
        case dict():
            return {key: _published(value, renamed) for key, value in schema.items()}
        case list():
            return [_published(item, renamed) for item in schema]
        case str():
            return renamed.get(schema, schema)
        case _:
            return schema
