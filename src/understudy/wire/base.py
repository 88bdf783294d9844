"""The two kinds of struct, and the annotations that many fields share."""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = [
    "UNSET",
    "AssistantId",
    "Body",
    "Deleted",
    "Metadata",
    "Object",
    "ReasoningEffort",
    "Temperature",
    "TopP",
    "UnsetType",
]


# msgspec does not pass `kw_only` on to subclasses (and type checkers want `frozen` again), so each of them says both.


class Object(Struct, frozen=True, kw_only=True):
    """Something that the server answers with. Every key is always present unless its type admits `UNSET`."""


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that a client sends. Unknown keys are refused; `null` for an optional field means "not given"."""


Metadata: TypeAlias = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16, extra={"words": "a metadata object"}),
]
Temperature: TypeAlias = Annotated[float, Meta(ge=0, le=2)]
TopP: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
AssistantId: TypeAlias = Annotated[str, Meta(pattern="^asst", extra={"id_prefix": "asst"})]
JsonObject: TypeAlias = dict[str, Any]


class Deleted(Object, frozen=True, kw_only=True):
    """The answer to a DELETE."""

    id: str
    object: Literal[
        "assistant.deleted",
        "thread.deleted",
        "thread.message.deleted",
        "file",
        "vector_store.deleted",
        "vector_store.file.deleted",
    ]
    deleted: Literal[True] = True
