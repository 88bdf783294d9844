"""How objects become columns and come back: JSON, exactly as a GET answers it."""

from typing import Final, TypeVar

import msgspec

from understudy.core.run.state import Progress, RunSettings
from understudy.ports import Given
from understudy.wire.assistants import Assistant
from understudy.wire.messages import Message
from understudy.wire.runs import Run
from understudy.wire.steps import RunStep
from understudy.wire.threads import Thread

encode: Final = msgspec.json.Encoder().encode
decode_assistant: Final = msgspec.json.Decoder(Assistant).decode
decode_given: Final = msgspec.json.Decoder(Given).decode
decode_thread: Final = msgspec.json.Decoder(Thread).decode
decode_message: Final = msgspec.json.Decoder(Message).decode
decode_run: Final = msgspec.json.Decoder(Run).decode
decode_step: Final = msgspec.json.Decoder(RunStep).decode
decode_settings: Final = msgspec.json.Decoder(RunSettings).decode
decode_progress: Final = msgspec.json.Decoder(Progress).decode


class _Labelled(msgspec.Struct):
    metadata: dict[str, str]


_decode_labelled: Final = msgspec.json.Decoder(_Labelled).decode
_Labels = TypeVar("_Labels", Run, Message)


def with_metadata_of(body: bytes, new: _Labels) -> _Labels:
    """`new`, with the metadata of the row that it replaces.

    Clients may change metadata at any time, also while a worker holds an older copy of the object, and that change
    is no fact: without this a worker's next append would undo it.
    """
    metadata = _decode_labelled(body).metadata
    return new if metadata == new.metadata else msgspec.structs.replace(new, metadata=metadata)
