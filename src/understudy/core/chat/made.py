"""What a run's code has made, as its messages show it: images at their beginning, files behind their paths."""

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote

from understudy.core.chat.file_paths import PREFIX
from understudy.core.run.state import Note
from understudy.wire.messages import FilePath, Message, TextPart
from understudy.wire.steps import CodeInterpreterCall, ImageOutput, MessageCreation, RunStep, ToolCalls


def images_unsaid(own: Sequence[RunStep]) -> Sequence[str]:
    """The files of images that code has made since the run's last message: the next one begins with them."""
    images: list[str] = []
    for step in own:
        match step.step_details:
            case MessageCreation():
                images.clear()
            case ToolCalls(tool_calls=calls):
                outputs = [
                    output
                    for call in calls
                    if isinstance(call, CodeInterpreterCall)
                    for output in call.code_interpreter.outputs
                ]
                images += [output.image.file_id for output in outputs if isinstance(output, ImageOutput)]
    return images


def made_files(messages: Iterable[Message], notes: Mapping[str, Mapping[str, Note]]) -> Mapping[str, str]:
    """The ids of the files that may be pointed to, by their paths below `/mnt/data`; the newest of each name.

    `messages` are those of earlier runs, and `notes` this run's, both oldest first.
    """
    made: dict[str, str] = {}
    for message in messages:
        for part in message.content:
            if isinstance(part, TextPart) and message.role == "assistant":
                for annotation in part.text.annotations:
                    if isinstance(annotation, FilePath):
                        made[unquote(annotation.text.removeprefix(PREFIX))] = annotation.file_path.file_id
    for of_step in notes.values():
        for note in of_step.values():
            made.update((file.name, file.file_id) for file in note.files)
    return made
