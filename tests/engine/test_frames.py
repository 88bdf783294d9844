"""Frames of a text's deltas, whose common part is encoded once."""

import pytest

from understudy.core.chat.assemble import TextPiece
from understudy.core.chat.deltas import message_delta
from understudy.engine.frames import TextFrames, delta_frame


@pytest.mark.parametrize("value", ["", " token", '"\\\n\r\t', "\x00", "é 😀 \u2028", "data: x\n\n", "a" * 10_000])
@pytest.mark.parametrize("index", [0, 12])
def test_a_texts_frame_is_that_of_its_delta(value: str, index: int) -> None:
    frames = TextFrames("msg_1", index)
    assert frames.frame(value) == delta_frame(message_delta("msg_1", TextPiece(value, index, first=False)))
