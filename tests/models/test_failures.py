import json
import time
from email.utils import formatdate

import pytest

from understudy.core import limits
from understudy.models import failures
from understudy.models.failures import Answer
from understudy.ports import ModelError


def of(status: int, body: object, headers: dict[str, str] | None = None, secrets: tuple[str, ...] = ()) -> ModelError:
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return failures.of_answer(Answer(status=status, headers=headers or {}, body=encoded), secrets)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "No.", "type": "x", "code": None}}, "No."),
        ({"error": "No."}, "No."),
        ({"object": "error", "message": "No.", "type": "BadRequestError", "code": 400}, "No."),
        ({"detail": "No."}, "No."),
        ({"detail": [{"loc": ["body", "top_p"], "msg": "Too big."}, {"msg": "No."}]}, "body.top_p: Too big.; No."),
        ({"message": {"detail": [{"loc": ["body"], "msg": "No."}]}}, "body: No."),
        ([{"error": {"code": 400, "message": "No."}}], "No."),
        (b"No.\r\n", "No."),
        ("No.", "No."),
        (b"two\x00\n\n lines", "two lines"),
        (b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_the_servers_own_words_are_found_in_every_usual_shape(body: object, words: str) -> None:
    assert of(400, body).message == f"The model server answered with status 400: {words}"


@pytest.mark.parametrize(
    "body", [b"", b"<html><h1>Bad gateway</h1>", {}, [], 7, {"error": {}}, b"[" * 60_000, {"detail": [[[[["deep"]]]]]}]
)
def test_an_answer_without_words_is_told_by_its_status(body: object) -> None:
    if isinstance(body, bytes) and body.startswith(b"["):
        assert len(of(500, body).message) < limits.UPSTREAM_ERROR_WORDS_MAX + 100
    else:
        assert of(500, body).message == "The model server answered with status 500."


def test_long_words_are_cut() -> None:
    message = of(400, {"error": {"message": "x" * 10_000}}).message
    assert message.endswith("xxx...")
    assert len(message) < limits.UPSTREAM_ERROR_WORDS_MAX + 100


def test_secrets_in_the_servers_words_are_hidden() -> None:
    error = of(400, {"error": "key sk-secret of sk-secret-long"}, secrets=("sk-secret-long", "sk-secret"))
    assert error.message.endswith(": key *** of ***")


@pytest.mark.parametrize(
    ("status", "error", "code", "retryable"),
    [
        (307, {}, "server_error", False),
        (400, {"code": "context_length_exceeded"}, "server_error", False),
        (400, {"code": "content_filter"}, "invalid_prompt", False),
        (400, {"type": "content_policy_violation"}, "invalid_prompt", False),
        (400, {"code": "invalid_prompt", "type": "invalid_request_error"}, "invalid_prompt", False),
        (400, {"innererror": {"code": "ResponsibleAIPolicyViolation"}}, "invalid_prompt", False),
        (403, {"code": 403, "metadata": {"flagged_input": "x", "reasons": []}}, "invalid_prompt", False),
        (401, {}, "server_error", False),
        (403, {}, "server_error", False),
        (402, {}, "server_error", False),
        (404, {"code": "model_not_found"}, "server_error", False),
        (408, {}, "server_error", True),
        (422, {}, "server_error", False),
        (429, {}, "rate_limit_exceeded", True),
        (429, {"code": "insufficient_quota"}, "rate_limit_exceeded", False),
        (500, {}, "server_error", True),
        (502, {}, "server_error", True),
        (503, {}, "server_error", True),
        (504, {"code": "content_filter"}, "server_error", True),
    ],
)
def test_a_status_becomes_a_code_and_says_whether_to_try_again(
    status: int, error: dict[str, object], code: str, retryable: bool
) -> None:
    made = of(status, {"error": {"message": "Words.", **error}})
    assert (made.code, made.retryable) == (code, retryable)
    assert str(status) in made.message


def test_a_refused_key_is_told_without_the_servers_words_which_may_quote_it() -> None:
    assert (
        of(401, {"error": "bad key sk-s***t"}).message
        == "The model server refused the configured API key (status 401)."
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("soon", None), ("nan", None), ("inf", None), ("", None)],
)
def test_retry_after_is_seconds(value: str, seconds: float | None) -> None:
    assert of(429, {}, {"Retry-After": value}).retry_after == seconds


def test_retry_after_may_be_a_date() -> None:
    seconds = of(503, {}, {"Retry-After": formatdate(time.time() + 30, usegmt=True)}).retry_after
    assert seconds is not None
    assert 25 < seconds <= 30
    assert of(503, {}, {"Retry-After": formatdate(time.time() - 30, usegmt=True)}).retry_after == 0


@pytest.mark.parametrize(
    ("tree", "code"),
    [
        ({"error": {"message": "Words.", "code": 429}}, "rate_limit_exceeded"),
        ({"error": {"message": "Words.", "type": "rate_limit_error"}}, "rate_limit_exceeded"),
        ({"error": {"message": "Words.", "code": "content_filter"}}, "invalid_prompt"),
        ({"error": {"message": "Words.", "code": 502}}, "server_error"),
        ({"error": "Words."}, "server_error"),
    ],
)
def test_an_error_in_place_of_a_chunk_is_never_retryable(tree: object, code: str) -> None:
    error = failures.of_error_tree(tree, ())
    assert (error.message, error.code, error.retryable) == ("The model server reported an error: Words.", code, False)
