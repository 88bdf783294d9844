"""What is refused before any work is done for it."""

import pytest

from understudy.api.references import check_messages
from understudy.core.errors import BadRequest
from understudy.core.limits import MESSAGES_PER_THREAD_MAX
from understudy.wire.messages import CreateMessage


def test_more_messages_than_a_thread_holds_are_refused_before_they_are_made() -> None:
    message = CreateMessage(role="user", content="x")
    check_messages([message] * MESSAGES_PER_THREAD_MAX)
    with pytest.raises(BadRequest, match=r"^A thread holds at most 100000 messages\.$"):
        check_messages([message] * (MESSAGES_PER_THREAD_MAX + 1))
