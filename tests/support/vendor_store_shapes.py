"""What the vendor's description says of vector stores, as `vendor_shapes` says it of all else."""

from support.shape_words import (
    BOOLEAN,
    INTEGER,
    METADATA,
    NUMBER,
    TEXT,
    TIME,
    Shape,
    either,
    listed,
    one_of,
    or_null,
    record,
)

# The keys that answers always have are those that clients' own checks demand, more than the description does.
_STATUS = one_of("in_progress", "completed", "cancelled", "failed")
_COUNTS = record(dict.fromkeys(("in_progress", "completed", "failed", "cancelled", "total"), INTEGER))
_SCALAR = either(TEXT, NUMBER, BOOLEAN)
_ATTRIBUTES: Shape = {"type": "object", "additionalProperties": _SCALAR, "maxProperties": 16}
_TEXTS = listed(record({"type": one_of("text"), "text": TEXT}))
VECTOR_STORE = record(
    {
        "id": TEXT,
        "object": one_of("vector_store"),
        "created_at": TIME,
        "name": TEXT,
        "description": or_null(TEXT),
        "usage_bytes": INTEGER,
        "file_counts": _COUNTS,
        "status": one_of("expired", "in_progress", "completed"),
        "expires_after": or_null(record({"anchor": one_of("last_active_at"), "days": INTEGER})),
        "expires_at": or_null(TIME),
        "last_active_at": or_null(TIME),
        "metadata": METADATA,
    }
)
STORE_FILE = record(
    {
        "id": TEXT,
        "object": one_of("vector_store.file"),
        "usage_bytes": INTEGER,
        "created_at": TIME,
        "vector_store_id": TEXT,
        "status": _STATUS,
        "last_error": or_null(
            record({"code": one_of("server_error", "unsupported_file", "invalid_file"), "message": TEXT})
        ),
        "chunking_strategy": record(
            {
                "type": one_of("static"),
                "static": record({"max_chunk_size_tokens": INTEGER, "chunk_overlap_tokens": INTEGER}),
            }
        ),
        "attributes": _ATTRIBUTES,
    }
)
FILE_BATCH = record(
    {
        "id": TEXT,
        "object": one_of("vector_store.files_batch"),
        "created_at": TIME,
        "vector_store_id": TEXT,
        "status": _STATUS,
        "file_counts": _COUNTS,
    }
)
_PAGE_ENDS: dict[str, Shape] = {"has_more": BOOLEAN, "next_page": or_null(TEXT)}
FILE_CONTENT = record({"object": one_of("vector_store.file_content.page"), "data": _TEXTS, **_PAGE_ENDS})
SEARCH_RESULTS = record(
    {
        "object": one_of("vector_store.search_results.page"),
        "search_query": listed(TEXT),
        "data": listed(
            record(
                {
                    "file_id": TEXT,
                    "filename": TEXT,
                    "score": {"type": "number", "minimum": 0, "maximum": 1},
                    "attributes": _ATTRIBUTES,
                    "content": _TEXTS,
                }
            )
        ),
        **_PAGE_ENDS,
    }
)
