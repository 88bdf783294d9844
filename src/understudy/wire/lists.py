"""List pages and the parameters that choose them. Rules: contract section 1.3."""

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from understudy.wire.base import Metadata, Object


class Page(Object, frozen=True, kw_only=True):
    """A page of any resource. The items are JSON already, just as they were stored."""

    object: Literal["list"] = "list"
    data: list[Raw]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ListQuery(Struct, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None


class ListThreadsQuery(ListQuery, frozen=True, kw_only=True):
    """`GET /threads`, which the vendor's service never had. `metadata[KEY]=VALUE` may be given for several keys."""

    metadata: Metadata = {}
    assistant_id: str | None = None


class RunQuery(Struct, frozen=True, kw_only=True):
    """`wait`: seconds to hold the answer back until the run rests."""

    wait: Annotated[float, Meta(ge=0, le=120)] | None = None


class ListMessagesQuery(ListQuery, frozen=True, kw_only=True):
    run_id: str | None = None


Include = Literal["step_details.tool_calls[*].file_search.results[*].content"]


class ListStepsQuery(ListQuery, frozen=True, kw_only=True):
    include: list[Include] = []


class IncludeQuery(Struct, frozen=True, kw_only=True):
    include: list[Include] = []
