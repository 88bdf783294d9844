"""Every refusal the API gives: status, type, code and the client's words, letter for letter.

    ApiError
    ├── BadRequest ................. 400 invalid_request_error
    │   ├── InvalidField ........... a field broke a rule; carries `param` and `code`
    │   └── Conflict ............... the object's state forbids it (400, never 409: the SDKs retry 409)
    ├── Unauthorized ............... 401 invalid_api_key
    ├── NotFound ................... 404
    ├── TooSlow .................... 408
    ├── MethodNotAllowed ........... 405
    ├── TooLarge ................... 413
    ├── UnsupportedMedia ........... 415
    ├── InternalError .............. 500 server_error
    └── Unavailable ................ 503 server_error

Texts marked [attested] were reported from the vendor's service; clients match them with regular expressions.
"""

from collections.abc import Sequence
from typing import Final

from understudy.core.limits import FILES_PER_STORE_MAX, MESSAGES_PER_THREAD_MAX
from understudy.wire.tools import FILE_IDS_MAX

__all__ = [
    "ApiError",
    "BadRequest",
    "Conflict",
    "InternalError",
    "InvalidField",
    "MethodNotAllowed",
    "NotFound",
    "TooLarge",
    "TooSlow",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMedia",
]

HELP_URL: Final = "https://platform.openai.com/account/api-keys"
BETA_HEADER_MISSING: Final = (
    "You must provide the 'OpenAI-Beta' header to access the Assistants API. "
    "Please try again by setting the header 'OpenAI-Beta: assistants=v2'."
)
V1_DEPRECATED: Final = (
    "The v1 Assistants API has been deprecated. See the migration guide for more information: "
    "https://platform.openai.com/docs/assistants/migration."
)
SORRY: Final = "Sorry, something went wrong."
CRASHED: Final = (
    "The server had an error processing your request. Sorry about that! You can retry your request, or contact us "
    "through our help center at help.openai.com if you keep seeing this error."
)


class ApiError(Exception):
    """An answer that is an error. `str(error)` is what the client reads."""

    status: int = 500
    type: str = "server_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class BadRequest(ApiError):
    status = 400
    type = "invalid_request_error"


class InvalidField(BadRequest):
    """A field of a body or a query breaks a rule. `param` is its path, as in `tools[0].function.name`."""

    def __init__(self, message: str, *, param: str, code: str) -> None:
        super().__init__(message, param=param, code=code)


class Conflict(BadRequest):
    """The object is not in a state that allows this. 400 because the SDKs retry 409 and must not here."""


class Unauthorized(ApiError):
    status = 401
    type = "invalid_request_error"

    def __init__(self, message: str) -> None:
        super().__init__(message, code="invalid_api_key")


class NotFound(ApiError):
    status = 404
    type = "invalid_request_error"


class MethodNotAllowed(ApiError):
    status = 405
    type = "invalid_request_error"


class TooLarge(ApiError):
    status = 413
    type = "invalid_request_error"


class TooSlow(ApiError):
    """The body has not come. The SDKs retry it."""

    status = 408
    type = "invalid_request_error"


class UnsupportedMedia(ApiError):
    status = 415
    type = "invalid_request_error"


class InternalError(ApiError):
    def __init__(self) -> None:
        super().__init__(CRASHED)


class Unavailable(ApiError):
    """The server cannot do this just now (a full disk, a full queue). The SDKs retry it."""

    status = 503


# --- keys


def missing_key() -> Unauthorized:
    """[attested], shortened after its first sentences."""
    return Unauthorized(
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        f"(i.e. Authorization: Bearer YOUR_KEY). You can obtain an API key from {HELP_URL}."
    )


def wrong_key(key: str) -> Unauthorized:
    """[attested] The key is shown masked: the first five characters and the last two, fewer of a short one."""
    shown = f"{key[:5]}***{key[-2:]}" if len(key) > 12 else "***"
    return Unauthorized(f"Incorrect API key provided: '{shown}'. You can find your API key at {HELP_URL}.")


# --- headers


def wrong_header(name: str, choices: Sequence[str]) -> BadRequest:
    """For headers of our own. What was sent is not repeated."""
    return BadRequest(f"The header '{name}' must be one of: {', '.join(choices)}.", code="invalid_value")


# --- ids


def no_such(kind: str, id_: str) -> NotFound:
    """[attested] for assistants, threads and files; runs, messages, steps, stores and uploads by analogy."""
    if kind == "file":
        return no_such_file(id_)
    return NotFound(f"No {kind} found with id '{id_}'.")


def no_such_cursor(kind: str, id_: str, param: str) -> BadRequest:
    """A list cannot go on from what is not in it. Ours: nobody has reported what the service answers."""
    return BadRequest(f"No {kind} found with id '{id_}'.", param=param)


def no_such_file(id_: str) -> NotFound:
    """[attested] No full stop."""
    return NotFound(f"No such File object: {id_}", param="id")


def no_such_store_file(file_id: str, store_id: str) -> NotFound:
    """[attested]"""
    return NotFound(f"No file found with id '{file_id}' in vector store '{store_id}'.")


def wrong_prefix(field: str, id_: str, prefix: str) -> InvalidField:
    """[attested] The prefix is quoted without its underscore."""
    return InvalidField(
        f"Invalid '{field}': '{id_}'. Expected an ID that begins with '{prefix}'.", param=field, code="invalid_value"
    )


def unknown_url(method: str, path: str) -> NotFound:
    """[attested]"""
    return NotFound(f"Invalid URL ({method} {path})")


def wrong_method(method: str, path: str) -> MethodNotAllowed:
    return MethodNotAllowed(
        f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)",
        code="method_not_supported",
    )


def unknown_position(text: str) -> InvalidField:
    return InvalidField(
        f"Invalid value: '{text}'. Expected the id of an event of this stream.",
        param="Last-Event-ID",
        code="invalid_value",
    )


def stream_broken() -> ApiError:
    return ApiError("The stream ended before its run: the server is stopping, or the thread was deleted.")


def begun_anew() -> ApiError:
    """An answer was lost with its worker after its beginning was streamed. Another worker makes it anew."""
    return ApiError("The answer was lost and is being made anew; please read the run's stream again.")


def events_gone(run_id: str) -> NotFound:
    """Ours: the vendor's service had no stream that could be read again."""
    return NotFound(f"The events of run '{run_id}' are no longer kept; its messages and steps are.")


# --- files and uploads


def unreadable_form(reason: str) -> BadRequest:
    """Ours, in the manner of the refusal of a JSON body. `reason` is a clause, as in "it ended early"."""
    return BadRequest(
        "We could not parse the multipart form of your request. (HINT: This likely means you aren't using your HTTP "
        f"library correctly. The API expects multipart/form-data, but {reason}.)"
    )


def no_form() -> UnsupportedMedia:
    return UnsupportedMedia("Files are sent as multipart/form-data, with a boundary in the content type.")


def body_too_slow() -> TooSlow:
    return TooSlow("The rest of the request body has not come in time.")


def given_twice(field: str) -> InvalidField:
    """Ours: the API takes one file in a request."""
    return InvalidField(f"Duplicate parameter: '{field}'. It may be given once.", param=field, code="invalid_value")


def file_too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"The file is larger than the {bytes_max} bytes that this server accepts.", param="file")


def part_too_large(bytes_max: int) -> TooLarge:
    return TooLarge(
        f"The part is larger than the {bytes_max} bytes that this server accepts of one that is not the whole upload.",
        param="data",
    )


def part_beyond_upload(bytes_: int) -> TooLarge:
    return TooLarge(f"The part is larger than the whole upload, which is to have {bytes_} bytes.", param="data")


def download_refused(purpose: str) -> BadRequest:
    """[attested]"""
    return BadRequest(f"Not allowed to download files of purpose: {purpose}")


def upload_ended(to: str, status: str) -> Conflict:
    """By analogy with runs. `to` is what was to be done: `complete`, `cancel`, `add a part to`."""
    return Conflict(f"Cannot {to} upload with status '{status}'.")


def upload_full() -> Conflict:
    return Conflict("The upload holds more parts, or more bytes in them, than it can need.")


def no_such_part(part_id: str, upload_id: str) -> NotFound:
    """By analogy with files in vector stores."""
    return NotFound(f"No part found with id '{part_id}' in upload '{upload_id}'.")


def part_twice(number: int, part_id: str) -> InvalidField:
    return InvalidField(
        f"Invalid 'part_ids[{number}]': '{part_id}' is given twice.", param=f"part_ids[{number}]", code="invalid_value"
    )


def wrong_total(expected: int, got: int) -> BadRequest:
    return BadRequest(
        f"The parts have {got} bytes together, but the upload was created with {expected} bytes.", param="part_ids"
    )


def wrong_md5(got: str) -> InvalidField:
    return InvalidField(f"Invalid 'md5': the parts together have '{got}'.", param="md5", code="invalid_value")


# --- the state of vector stores


def store_expired(store_id: str) -> Conflict:
    """[attested]"""
    return Conflict(f"Vector store {store_id} is expired.")


def store_full() -> BadRequest:
    return BadRequest(f"A vector store holds at most {FILES_PER_STORE_MAX} files.")


def code_files_full() -> BadRequest:
    return BadRequest(f"A thread's code interpreter has at most {FILE_IDS_MAX} files.")


def unsupported_files(extensions: Sequence[str]) -> InvalidField:
    """[attested]"""
    return InvalidField(
        f"Files with extensions [{', '.join(extensions)}] are not supported for retrieval. "
        "See https://platform.openai.com/docs/assistants/tools/file-search/supported-files",
        param="file_ids",
        code="unsupported_file",
    )


# --- the state of runs and threads


def thread_has_run(thread_id: str, run_id: str) -> Conflict:
    """[attested]"""
    return Conflict(f"Thread {thread_id} already has an active run {run_id}.")


def thread_locked(thread_id: str, run_id: str) -> Conflict:
    """[attested] Matched by many clients."""
    return Conflict(f"Can't add messages to {thread_id} while a run {run_id} is active.")


def thread_full() -> BadRequest:
    return BadRequest(f"A thread holds at most {MESSAGES_PER_THREAD_MAX} messages.")


def cannot_cancel(status: str) -> Conflict:
    """[attested]"""
    return Conflict(f"Cannot cancel run with status '{status}'.")


def outputs_refused(status: str) -> Conflict:
    """[attested] Double quotes, unlike its neighbours."""
    return Conflict(f'Runs in status "{status}" do not accept tool outputs.')


def outputs_mismatch(expected: Sequence[str], got: Sequence[str]) -> Conflict:
    """[attested] The lists are written as Python writes them; no full stop."""
    return Conflict(f"Expected tool outputs for call_ids {list(expected)!r}, got {list(got)!r}")


def model_unknown(model: str) -> InvalidField:
    return InvalidField(f"The requested model '{model}' does not exist.", param="model", code="model_not_found")


def no_such_model(model: str) -> NotFound:
    return NotFound(f"The model '{model}' does not exist", param="model", code="model_not_found")
