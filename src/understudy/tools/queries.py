"""What a model asks the file search, however it writes that down."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from understudy.core.limits import FILE_SEARCH_QUERIES_MAX, FILE_SEARCH_QUERY_LENGTH_MAX


class _Arguments(Struct):
    """`query` is how many models write one of the `queries`."""

    queries: list[str] | str = []
    query: list[str] | str = []


_decode: Final = msgspec.json.Decoder(_Arguments | list[str] | str).decode


def read_queries(arguments: str) -> Sequence[str]:
    """The queries of a call, at most as many and as long as the limits say. None: the arguments make no sense."""
    try:
        read = _decode(arguments)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ()
    asked = [read.queries, read.query] if isinstance(read, _Arguments) else [read]
    texts = [text for part in asked for text in ([part] if isinstance(part, str) else part)]
    whole = dict.fromkeys(text.strip()[:FILE_SEARCH_QUERY_LENGTH_MAX] for text in texts)
    return [text for text in whole if text][:FILE_SEARCH_QUERIES_MAX]
