"""What is refused before any work is done for it."""

from typing import cast

import pytest

from understudy.api.references import check_references
from understudy.api.services import Services
from understudy.core.errors import BadRequest
from understudy.core.ids import ProjectId
from understudy.core.limits import MESSAGES_PER_THREAD_MAX
from understudy.wire.messages import CreateMessage


async def test_more_messages_than_a_thread_holds_are_refused_before_they_are_made() -> None:
    message = CreateMessage(role="user", content="x")
    unasked = cast("Services", None)  # no id is named, so nothing is looked up
    await check_references(unasked, ProjectId("p"), messages=[message] * MESSAGES_PER_THREAD_MAX)
    with pytest.raises(BadRequest, match=r"^A thread holds at most 100000 messages\.$"):
        await check_references(unasked, ProjectId("p"), messages=[message] * (MESSAGES_PER_THREAD_MAX + 1))
