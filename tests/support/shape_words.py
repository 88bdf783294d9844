"""The words in which `vendor_shapes` and its neighbours describe objects: JSON Schemas that know no other keys."""

from typing import Any

Shape = dict[str, Any]

TEXT: Shape = {"type": "string"}
INTEGER: Shape = {"type": "integer"}
NUMBER: Shape = {"type": "number"}
BOOLEAN: Shape = {"type": "boolean"}


def either(*shapes: Shape) -> Shape:
    return {"anyOf": list(shapes)}


def or_null(shape: Shape) -> Shape:
    return either(shape, {"type": "null"})


def one_of(*words: str) -> Shape:
    return {"enum": list(words)}


def listed(shape: Shape) -> Shape:
    return {"type": "array", "items": shape}


def record(required: dict[str, Shape], extra: dict[str, Shape] | None = None) -> Shape:
    """An object with all of `required`, perhaps with some of `extra`, and with nothing else."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(extra or {})},
        "additionalProperties": False,
    }


TIME = INTEGER
METADATA: Shape = {"type": "object", "additionalProperties": TEXT}
