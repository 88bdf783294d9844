"""Writing answers: JSON bodies, errors."""

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from understudy.core import errors
from understudy.core.ids import Kind
from understudy.core.limits import POLL_AFTER_MS
from understudy.core.run.machine import TERMINAL
from understudy.ports import (
    CodeFilesFull,
    Missing,
    StoreRefusal,
    ThreadBusy,
    ThreadFull,
    VectorStoreExpired,
    VectorStoreFull,
)
from understudy.wire.base import Object
from understudy.wire.runs import Run, RunStatus
from understudy.wire.vector_stores import VectorStoreFile, VectorStoreFileBatch

_encode = msgspec.json.Encoder().encode


class _Status(msgspec.Struct):
    status: RunStatus


_status_of = msgspec.json.Decoder(_Status).decode


def answer(shown: Object | bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An object as JSON. Bytes are JSON already: objects are stored just as they are answered."""
    content = shown if isinstance(shown, bytes) else _encode(shown)
    return Response(content, status_code=status, headers=headers, media_type="application/json")


def answer_run(shown: Run | bytes) -> Response:
    """A run; while it has not ended the SDKs' pollers are told when to ask again."""
    status = shown.status if isinstance(shown, Run) else _status_of(shown).status
    return answer(shown, headers={} if status in TERMINAL else {"openai-poll-after-ms": str(POLL_AFTER_MS)})


def answer_pollable(shown: VectorStoreFile | VectorStoreFileBatch) -> Response:
    """While it is being indexed the SDKs' pollers are told when to ask again."""
    headers = {"openai-poll-after-ms": str(POLL_AFTER_MS)} if shown.status == "in_progress" else {}
    return answer(shown, headers=headers)


def found(body: bytes | None, kind: Kind, id_: str) -> bytes:
    if body is None:
        raise errors.no_such(kind, id_)
    return body


def error_envelope(error: errors.ApiError, *, flat: bool = False) -> bytes:
    """All four keys, always. `flat` repeats them at the top, for readers of the specification's error event."""
    keys = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return _encode({"error": keys, **keys} if flat else {"error": keys})


def refusal(refused: StoreRefusal, *, adding: str = "message") -> errors.ApiError:
    """A refusal of the store in the API's words. `adding` says what was to be added: a `message` or a `run`."""
    match refused:
        case Missing(kind=kind, id=id_):
            return errors.no_such(kind, id_)
        case ThreadBusy(thread_id=thread_id, run_id=run_id):
            told = errors.thread_locked if adding == "message" else errors.thread_has_run
            return told(thread_id, run_id)
        case ThreadFull():
            return errors.thread_full()
        case CodeFilesFull():
            return errors.code_files_full()
        case VectorStoreExpired(store_id=store_id):
            return errors.store_expired(store_id)
        case VectorStoreFull():
            return errors.store_full()
    raise refused
