"""What the vendor's description says each object holds, as JSON Schemas that know no other keys.

Written down by hand from that description, so that our own structs are held against something else than themselves.
Keys in `extra` are not in it: they were seen on the wire, or recent payloads have them.
"""

from typing import Any

from jsonschema import Draft202012Validator

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
from support.vendor_store_shapes import FILE_BATCH, FILE_CONTENT, SEARCH_RESULTS, STORE_FILE, VECTOR_STORE

__all__ = ["DELETED", "SHAPES", "shape_faults"]

USAGE = record({"prompt_tokens": INTEGER, "completion_tokens": INTEGER, "total_tokens": INTEGER})
RESOURCES = record(
    {},
    {
        "code_interpreter": record({"file_ids": listed(TEXT)}),
        "file_search": record({"vector_store_ids": listed(TEXT)}),
    },
)

# --- tools and formats

RANKING = record({"score_threshold": NUMBER, "ranker": one_of("auto", "default_2024_08_21")})
TOOL = either(
    record({"type": one_of("code_interpreter")}),
    record(
        {
            "type": one_of("file_search"),
            "file_search": record({"ranking_options": RANKING}, {"max_num_results": INTEGER}),
        }
    ),
    record(
        {
            "type": one_of("function"),
            "function": record(
                {"name": TEXT, "strict": BOOLEAN}, {"description": TEXT, "parameters": {"type": "object"}}
            ),
        }
    ),
)
RESPONSE_FORMAT = either(
    one_of("auto"),
    record({"type": one_of("text", "json_object")}),
    record(
        {
            "type": one_of("json_schema"),
            "json_schema": record(
                {"name": TEXT}, {"description": TEXT, "schema": {"type": "object"}, "strict": BOOLEAN}
            ),
        }
    ),
)
TOOL_CHOICE = either(
    one_of("none", "auto", "required"),
    record({"type": one_of("file_search", "code_interpreter")}),
    record({"type": one_of("function"), "function": record({"name": TEXT})}),
)
EFFORT = one_of("none", "minimal", "low", "medium", "high", "xhigh", "max")

# --- objects

ASSISTANT = record(
    {
        "id": TEXT,
        "object": one_of("assistant"),
        "created_at": TIME,
        "name": or_null(TEXT),
        "description": or_null(TEXT),
        "model": TEXT,
        "instructions": or_null(TEXT),
        "tools": listed(TOOL),
        "tool_resources": RESOURCES,
        "metadata": METADATA,
        "temperature": NUMBER,
        "top_p": NUMBER,
        "response_format": RESPONSE_FORMAT,
    },
    {"reasoning_effort": EFFORT},
)
THREAD = record(
    {"id": TEXT, "object": one_of("thread"), "created_at": TIME, "tool_resources": RESOURCES, "metadata": METADATA}
)
PART = either(
    record({"type": one_of("text"), "text": record({"value": TEXT, "annotations": listed({"type": "object"})})}),
    record({"type": one_of("refusal"), "refusal": TEXT}),
    record(
        {"type": one_of("image_file"), "image_file": record({"file_id": TEXT, "detail": one_of("auto", "low", "high")})}
    ),
    record({"type": one_of("image_url"), "image_url": record({"url": TEXT, "detail": one_of("auto", "low", "high")})}),
)
MESSAGE = record(
    {
        "id": TEXT,
        "object": one_of("thread.message"),
        "created_at": TIME,
        "thread_id": TEXT,
        "status": one_of("in_progress", "incomplete", "completed"),
        "incomplete_details": or_null(
            record({"reason": one_of("content_filter", "max_tokens", "run_cancelled", "run_expired", "run_failed")})
        ),
        "completed_at": or_null(TIME),
        "incomplete_at": or_null(TIME),
        "role": one_of("user", "assistant"),
        "content": listed(PART),
        "assistant_id": or_null(TEXT),
        "run_id": or_null(TEXT),
        "attachments": listed(record({"file_id": TEXT, "tools": listed({"type": "object"})})),
        "metadata": METADATA,
    }
)
REQUIRED_CALL = record({"id": TEXT, "type": one_of("function"), "function": record({"name": TEXT, "arguments": TEXT})})
RUN = record(
    {
        "id": TEXT,
        "object": one_of("thread.run"),
        "created_at": TIME,
        "thread_id": TEXT,
        "assistant_id": TEXT,
        "status": one_of(
            "queued",
            "in_progress",
            "requires_action",
            "cancelling",
            "cancelled",
            "failed",
            "completed",
            "incomplete",
            "expired",
        ),
        "required_action": or_null(
            record(
                {
                    "type": one_of("submit_tool_outputs"),
                    "submit_tool_outputs": record({"tool_calls": listed(REQUIRED_CALL)}),
                }
            )
        ),
        "last_error": or_null(
            record({"code": one_of("server_error", "rate_limit_exceeded", "invalid_prompt"), "message": TEXT})
        ),
        "expires_at": or_null(TIME),
        "started_at": or_null(TIME),
        "cancelled_at": or_null(TIME),
        "failed_at": or_null(TIME),
        "completed_at": or_null(TIME),
        # `content_filter` is not in the description; users reported it.
        "incomplete_details": or_null(
            record({"reason": one_of("max_completion_tokens", "max_prompt_tokens", "content_filter")})
        ),
        "model": TEXT,
        "instructions": TEXT,
        "tools": listed(TOOL),
        "metadata": METADATA,
        "usage": or_null(USAGE),
        "temperature": NUMBER,
        "top_p": NUMBER,
        "max_prompt_tokens": or_null(INTEGER),
        "max_completion_tokens": or_null(INTEGER),
        "truncation_strategy": record({"type": one_of("auto", "last_messages"), "last_messages": or_null(INTEGER)}),
        "tool_choice": TOOL_CHOICE,
        "parallel_tool_calls": BOOLEAN,
        "response_format": RESPONSE_FORMAT,
        "tool_resources": RESOURCES,
    },
    {"reasoning_effort": EFFORT},
)
CALL = record(
    {
        "id": TEXT,
        "type": one_of("function"),
        "function": record({"name": TEXT, "arguments": TEXT, "output": or_null(TEXT)}),
    }
)
STEP = record(
    {
        "id": TEXT,
        "object": one_of("thread.run.step"),
        "created_at": TIME,
        "assistant_id": TEXT,
        "thread_id": TEXT,
        "run_id": TEXT,
        "type": one_of("message_creation", "tool_calls"),
        "status": one_of("in_progress", "cancelled", "failed", "completed", "expired"),
        "step_details": either(
            record({"type": one_of("message_creation"), "message_creation": record({"message_id": TEXT})}),
            record({"type": one_of("tool_calls"), "tool_calls": listed(CALL)}),
        ),
        "last_error": or_null(record({"code": one_of("server_error", "rate_limit_exceeded"), "message": TEXT})),
        "expires_at": or_null(TIME),
        "expired_at": or_null(TIME),
        "cancelled_at": or_null(TIME),
        "failed_at": or_null(TIME),
        "completed_at": or_null(TIME),
        "metadata": METADATA,
        "usage": or_null(USAGE),
    }
)

# --- files

FILE = record(
    {
        "id": TEXT,
        "object": one_of("file"),
        "bytes": INTEGER,
        "created_at": TIME,
        "filename": TEXT,
        "purpose": one_of(
            "assistants",
            "assistants_output",
            "batch",
            "batch_output",
            "fine-tune",
            "fine-tune-results",
            "vision",
            "user_data",
            "evals",  # not in the description of answers, only in that of requests
        ),
        "status": one_of("uploaded", "processed", "error"),
    },
    {"expires_at": TIME},
)
UPLOAD = record(
    {
        "id": TEXT,
        "object": one_of("upload"),
        "bytes": INTEGER,
        "created_at": TIME,
        "expires_at": TIME,
        "filename": TEXT,
        "purpose": TEXT,
        "status": one_of("pending", "completed", "cancelled", "expired"),
        "file": or_null(FILE),
    }
)
PART_OF_UPLOAD = record({"id": TEXT, "object": one_of("upload.part"), "created_at": TIME, "upload_id": TEXT})

# --- deltas

MESSAGE_DELTA = record(
    {
        "id": TEXT,
        "object": one_of("thread.message.delta"),
        "delta": record(
            {
                "content": listed(
                    either(
                        record(
                            {
                                "index": INTEGER,
                                "type": one_of("text"),
                                "text": record({"value": TEXT}, {"annotations": listed({"type": "object"})}),
                            }
                        ),
                        record({"index": INTEGER, "type": one_of("refusal"), "refusal": TEXT}),
                    )
                )
            }
        ),
    }
)
CALL_DELTA = record(
    {
        "index": INTEGER,
        "type": one_of("function"),
        "function": record({}, {"name": TEXT, "arguments": TEXT, "output": or_null(TEXT)}),
    },
    {"id": TEXT},
)
STEP_DELTA = record(
    {
        "id": TEXT,
        "object": one_of("thread.run.step.delta"),
        "delta": record({"step_details": record({"type": one_of("tool_calls"), "tool_calls": listed(CALL_DELTA)})}),
    }
)

# --- by the name that an object gives itself

DELETED = (
    "assistant.deleted",
    "thread.deleted",
    "thread.message.deleted",
    "vector_store.deleted",
    "vector_store.file.deleted",
)
SHAPES: dict[str, Shape] = {
    "assistant": ASSISTANT,
    "thread": THREAD,
    "thread.message": MESSAGE,
    "thread.run": RUN,
    "thread.run.step": STEP,
    "thread.message.delta": MESSAGE_DELTA,
    "thread.run.step.delta": STEP_DELTA,
    **{name: record({"id": TEXT, "object": one_of(name), "deleted": {"const": True}}) for name in DELETED},
    # A deleted file calls itself as one that is there.
    "file": either(FILE, record({"id": TEXT, "object": one_of("file"), "deleted": {"const": True}})),
    "upload": UPLOAD,
    "upload.part": PART_OF_UPLOAD,
    "vector_store": VECTOR_STORE,
    "vector_store.file": STORE_FILE,
    "vector_store.files_batch": FILE_BATCH,
    "vector_store.file_content.page": FILE_CONTENT,
    "vector_store.search_results.page": SEARCH_RESULTS,
    "model": record({"id": TEXT, "object": one_of("model"), "created": INTEGER, "owned_by": TEXT}),
}
ERROR = record({"error": record({"message": TEXT, "type": TEXT, "param": or_null(TEXT), "code": or_null(TEXT)})})
_PAGE_KEYS = {"object": one_of("list"), "first_id": or_null(TEXT), "last_id": or_null(TEXT), "has_more": BOOLEAN}


def shape_faults(shown: Any) -> list[str]:
    """What is wrong with an answer by the vendor's description; empty when nothing is."""
    match shown:
        case {"error": _}:
            shape = ERROR
        case {"object": "list", "data": list(items)}:
            faults = [fault for item in items for fault in shape_faults(item)]
            if items and items[0]["object"] == "model":
                return faults
            return [*faults, *_faults(record({**_PAGE_KEYS, "data": {"type": "array"}}), shown)]
        case {"object": str(name)} if name in SHAPES:
            shape = SHAPES[name]
        case _:
            return [f"no shape for {shown!r}"]
    return _faults(shape, shown)


def _faults(shape: Shape, shown: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(shape).iter_errors(shown)]
