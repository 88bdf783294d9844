"""How objects become columns and come back: JSON, exactly as a GET answers it."""

from typing import Final

import msgspec

from understudy.core.run.state import Note, Progress, RunSettings
from understudy.ports import Given
from understudy.wire.assistants import Assistant
from understudy.wire.files import File
from understudy.wire.messages import Message
from understudy.wire.runs import Run
from understudy.wire.steps import RunStep
from understudy.wire.threads import Thread
from understudy.wire.uploads import Upload, UploadPart
from understudy.wire.vector_stores import Attributes, VectorStore, VectorStoreFile, VectorStoreFileBatch

encode: Final = msgspec.json.Encoder().encode
decode_assistant: Final = msgspec.json.Decoder(Assistant).decode
decode_given: Final = msgspec.json.Decoder(Given).decode
decode_thread: Final = msgspec.json.Decoder(Thread).decode
decode_message: Final = msgspec.json.Decoder(Message).decode
decode_run: Final = msgspec.json.Decoder(Run).decode
decode_step: Final = msgspec.json.Decoder(RunStep).decode
decode_file: Final = msgspec.json.Decoder(File).decode
decode_upload: Final = msgspec.json.Decoder(Upload).decode
decode_part: Final = msgspec.json.Decoder(UploadPart).decode
decode_settings: Final = msgspec.json.Decoder(RunSettings).decode
decode_notes: Final = msgspec.json.Decoder(dict[str, Note]).decode
decode_progress: Final = msgspec.json.Decoder(Progress).decode
decode_vector_store: Final = msgspec.json.Decoder(VectorStore).decode
decode_store_file: Final = msgspec.json.Decoder(VectorStoreFile).decode
decode_file_batch: Final = msgspec.json.Decoder(VectorStoreFileBatch).decode
decode_attributes: Final = msgspec.json.Decoder(Attributes).decode


class _Labelled(msgspec.Struct):
    metadata: dict[str, str]


_decode_labelled: Final = msgspec.json.Decoder(_Labelled).decode


def decode_metadata(body: bytes) -> dict[str, str]:
    """Of a body, without the rest of it."""
    return _decode_labelled(body).metadata
