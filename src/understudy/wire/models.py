"""`GET /models`: what the model servers offer, in the vendor's shape."""

from typing import Literal

from understudy.wire.base import Object


class Model(Object, frozen=True, kw_only=True):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class Models(Object, frozen=True, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Model]
