"""What a body holds beyond its fields: ids that must exist for the caller, just as ids in paths must."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from understudy.api.services import Services
from understudy.core import errors
from understudy.core.ids import ProjectId
from understudy.core.limits import MESSAGES_PER_THREAD_MAX
from understudy.wire.messages import CreateMessage, ImageFilePartBody
from understudy.wire.tools import NewFileSearchResourcesBody, NewToolResourcesBody, ToolResourcesBody

Resources: TypeAlias = ToolResourcesBody | NewToolResourcesBody | None


async def check_references(
    services: Services, project: ProjectId, *resources: Resources, messages: Sequence[CreateMessage] = ()
) -> None:
    """Raises `errors.ApiError` for files that the project does not have, for vector stores, of which there are none
    yet, and for more messages than any thread holds."""
    if len(messages) > MESSAGES_PER_THREAD_MAX:
        # The store would refuse them too, but only after seconds spent on making them and counting their tokens.
        raise errors.thread_full()
    named = [file_id for one in resources for file_id in _files_of_tools(one)]
    named += [file_id for message in messages for file_id in _files_of_message(message)]
    if named:
        for file_id in await services.store.missing_files(project, named, services.now()):
            raise errors.no_such_file(file_id)
    for one in resources:
        _check_vector_stores(one)


def _files_of_tools(resources: Resources) -> Sequence[str]:
    if resources is None or resources.code_interpreter is None:
        return ()
    return resources.code_interpreter.file_ids or ()


def _files_of_message(message: CreateMessage) -> Iterator[str]:
    for attachment in message.attachments or ():
        yield attachment.file_id
    if not isinstance(message.content, str):
        for part in message.content:
            if isinstance(part, ImageFilePartBody):
                yield part.image_file.file_id


def _check_vector_stores(resources: Resources) -> None:
    search = None if resources is None else resources.file_search
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
