"""What is to happen to a run or a message for a busy thread: the operator says it, and a request may say otherwise."""

from typing import Final

from starlette.requests import Request

from understudy.api.services import Services
from understudy.core import errors

BUSY_THREAD: Final = "Understudy-Busy-Thread"
CHOICES: Final = ("refuse", "queue")


def may_queue(services: Services, request: Request) -> bool:
    """Whether this request shall wait for a busy thread, not be refused. Raises `errors.BadRequest`."""
    asked = request.headers.get(BUSY_THREAD)
    if asked is None:
        return services.queue_when_busy
    if asked not in CHOICES:
        raise errors.wrong_header(BUSY_THREAD, CHOICES)
    return asked == "queue"
