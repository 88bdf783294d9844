"""What a refused request must look like, over HTTP."""

from support.client import Answer

__all__ = ["assert_not_found", "assert_refused"]


def assert_refused(
    answer: Answer, message: str, *, status: int = 400, param: str | None = None, code: str | None = None
) -> None:
    """The envelope with all four keys and nothing else, letter for letter."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    assert (answer.status, answer.body) == (status, {"error": error})


def assert_not_found(answer: Answer, kind: str, id_: str) -> None:
    assert_refused(answer, f"No {kind} found with id '{id_}'.", status=404)
