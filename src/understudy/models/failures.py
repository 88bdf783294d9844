"""Everything that a model server can do wrong, as the `ModelError` that the client reads.

A message names the status and the server's own words, never a key, a host or a header: those stay in `__cause__`.
"""

import asyncio
import math
import re
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
import msgspec
from aiohttp.http import HttpProcessingError
from msgspec import Struct

from understudy.core import limits
from understudy.ports import ModelError

# What the vendors call a refusal of the prompt's content, as `code` or `type`: OpenAI, Azure, OpenRouter, DashScope.
POLICY_CODES: Final = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "data_inspection_failed",
        "invalid_prompt",
        "moderation_blocked",
        "responsibleaipolicyviolation",
    }
)
RATE_CODES: Final = frozenset({"insufficient_quota", "rate_limit_error", "rate_limit_exceeded"})
_TEXT_DEPTH_MAX: Final = 4
_TEXT_ITEMS_MAX: Final = 5
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]+")

CUT: Final = "The model server's answer was cut off."
NOT_UNDERSTOOD: Final = "The model server sent something that is no chat completion chunk."

# What aiohttp raises while it asks and reads: broken HTTP comes through as `HttpProcessingError`, and reading from a
# connection that is gone, or asking a closed session, is a `RuntimeError`.
READ_ERRORS: Final = (aiohttp.ClientError, HttpProcessingError, OSError, RuntimeError)


class Answer(Struct, frozen=True, kw_only=True):
    """An answer that is an error: its status (3xx to 5xx), its headers, the beginning of its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Silent(ModelError):
    """The server was reached and said nothing. It may just be slow, so it is not asked again; another server may be."""


class _Words(Struct, frozen=True):
    """What an error's JSON says: a text, its codes and types in lower case, and a status of its own."""

    text: str = ""
    codes: frozenset[str] = frozenset()
    status: int | None = None
    flagged: bool = False

    @property
    def about_content(self) -> bool:
        return self.flagged or not self.codes.isdisjoint(POLICY_CODES)


def of_answer(answer: Answer, secrets: Sequence[str]) -> ModelError:
    """The error that an answer with a status other than 2xx stands for."""
    status = answer.status
    words = _read(answer.body)
    text = f"The model server answered with status {status}"
    if status < 400:
        return ModelError(f"{text}, a redirect. Its base URL may be wrong.")
    text = _shown(text, words.text, secrets)
    if status in (400, 403, 422) and words.about_content:
        return ModelError(text, code="invalid_prompt")
    if status in (401, 403):
        return ModelError(f"The model server refused the configured API key (status {status}).")
    retry_after = _retry_after(answer.headers)
    if status == 429:
        # A spent quota is not back within a run's life.
        retryable = "insufficient_quota" not in words.codes
        return ModelError(text, code="rate_limit_exceeded", retryable=retryable, retry_after=retry_after)
    return ModelError(text, retryable=is_away_or_busy(status), retry_after=retry_after)


def of_error_tree(tree: object, secrets: Sequence[str]) -> ModelError:
    """The error that an `error` in place of a chunk, or of a completion, stands for. `tree` is the whole JSON."""
    words = _words(tree)
    text = _shown("The model server reported an error", words.text, secrets)
    if words.about_content:
        return ModelError(text, code="invalid_prompt")
    if words.status == 429 or not words.codes.isdisjoint(RATE_CODES):
        return ModelError(text, code="rate_limit_exceeded")
    return ModelError(text)


def of_no_answer(error: Exception, *, connect_seconds: float, silence_seconds: float) -> ModelError:
    """The error that a request without an answer stands for. It is retryable, unless the server was just slow."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            why = f"no connection within {connect_seconds:g} seconds"
        case asyncio.TimeoutError():
            return silent(silence_seconds)
        case aiohttp.ClientConnectorDNSError():
            why = "its host name could not be resolved"
        case aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch():
            why = "TLS failed"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            why = "connection refused"
        case aiohttp.ClientConnectorError():
            why = "the connection failed"
        case aiohttp.ClientResponseError():
            return ModelError("The model server's answer is not HTTP.")
        case _:
            return ModelError("The model server closed the connection without an answer.", retryable=True)
    return ModelError(f"The model server cannot be reached: {why}.", retryable=True)


def is_away_or_busy(status: int) -> bool:
    """Whether an answer with this status is about the server, not about the request."""
    return status >= 500 or status in (408, 429)


def worth_asking_elsewhere(error: ModelError) -> bool:
    """Whether another server may answer what this one did not: a spent quota is not back soon, but it is its own."""
    return error.retryable or error.code == "rate_limit_exceeded" or isinstance(error, Silent)


def silent(seconds: float) -> ModelError:
    return Silent(f"The model server sent nothing for {seconds:g} seconds.")


def too_long(bytes_max: int) -> ModelError:
    return ModelError(f"The model server sent more than {bytes_max} bytes where less was expected.")


def unexpected(content_type: str) -> ModelError:
    """A 2xx answer that is neither an event stream nor the JSON that was asked for."""
    return ModelError(f"The model server's answer has an unexpected form ({content_type or 'no content type'}).")


def _shown(text: str, words: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        words = words.replace(secret, "***")
    words = _CONTROL.sub(" ", words).strip()
    if len(words) > limits.UPSTREAM_ERROR_WORDS_MAX:
        words = words[: limits.UPSTREAM_ERROR_WORDS_MAX] + "..."
    return f"{text}: {words}" if words else f"{text}."


def _read(body: bytes) -> _Words:
    try:
        tree = msgspec.json.decode(body)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        text = body.decode(errors="replace").strip()
        return _Words() if text.startswith("<") else _Words(text)  # a proxy's HTML page says nothing in it
    return _words(tree)


def _words(tree: object) -> _Words:
    """Of `{"error": {...}}`, `{"error": "..."}`, a bare error object, `{"detail": ...}`, or a list of one of these."""
    if isinstance(tree, list) and tree:
        tree = tree[0]
    if not isinstance(tree, dict):
        return _Words(_text(tree))
    error = tree.get("error") or tree
    if not isinstance(error, dict):
        error = {**tree, "error": None, "message": error}
    inner, metadata = error.get("innererror"), error.get("metadata")
    named = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    status = error.get("code")
    return _Words(
        _text(error),
        frozenset(name.lower() for name in named if isinstance(name, str)),
        status if isinstance(status, int) else None,
        isinstance(metadata, dict) and "flagged_input" in metadata,
    )


def _text(tree: object, depth: int = 0) -> str:
    """The words in an error: its message, or each of its details with the place that it is about."""
    if isinstance(tree, str):
        return tree
    if depth == _TEXT_DEPTH_MAX:
        return ""
    if isinstance(tree, list):
        return "; ".join(filter(None, (_text(entry, depth + 1) for entry in tree[:_TEXT_ITEMS_MAX])))
    if isinstance(tree, dict):
        for name in ("message", "msg", "detail"):
            text = _text(tree.get(name), depth + 1)
            place = tree.get("loc")
            if text and isinstance(place, list):
                return f"{'.'.join(map(str, place))}: {text}"
            if text:
                return text
    return ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from now, of a number or a date."""
    value = headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
