"""What a body holds beyond its fields: ids that must exist for the caller, just as ids in paths must."""

from collections.abc import Sequence

from understudy.core import errors
from understudy.core.limits import MESSAGES_PER_THREAD_MAX
from understudy.wire.messages import CreateMessage, ImageFilePartBody
from understudy.wire.tools import NewFileSearchResourcesBody, NewToolResourcesBody, ToolResourcesBody


def check_messages(messages: Sequence[CreateMessage]) -> None:
    """Raises `errors.ApiError` for more messages than any thread holds, and for files, of which there are none yet."""
    if len(messages) > MESSAGES_PER_THREAD_MAX:
        # The store would refuse them too, but only after seconds spent on making them and counting their tokens.
        raise errors.thread_full()
    for message in messages:
        for attachment in message.attachments or ():
            raise errors.no_such_file(attachment.file_id)
        if not isinstance(message.content, str):
            for part in message.content:
                if isinstance(part, ImageFilePartBody):
                    raise errors.no_such_file(part.image_file.file_id)


def check_resources(resources: ToolResourcesBody | NewToolResourcesBody | None) -> None:
    """Raises `errors.ApiError` for files and vector stores, of which this server has none yet."""
    if resources is None:
        return
    if resources.code_interpreter is not None:
        for file_id in resources.code_interpreter.file_ids or ():
            raise errors.no_such_file(file_id)
    search = resources.file_search
    if search is None:
        return
    for store_id in search.vector_store_ids or ():
        raise errors.no_such("vector store", store_id)
    if isinstance(search, NewFileSearchResourcesBody) and search.vector_stores:
        raise errors.BadRequest(
            "This server has no vector stores yet, so 'tool_resources.file_search.vector_stores' cannot be made.",
            param="tool_resources.file_search.vector_stores",
            code="unsupported_parameter",
        )
