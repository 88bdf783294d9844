"""Raw requests into the structs of `understudy.wire`, with the service's own words for whatever is wrong with them."""

from understudy.api.decode.body import Rewrite, decode_body
from understudy.api.decode.query import decode_query
from understudy.api.decode.v1 import v1_rewrite

__all__ = ["Rewrite", "decode_body", "decode_query", "v1_rewrite"]
