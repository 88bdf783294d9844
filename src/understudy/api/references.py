"""What a body holds beyond its fields: ids that must exist for the caller, just as ids in paths must."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from understudy.api.services import Services
from understudy.api.stores import need_store
from understudy.core import errors
from understudy.core.ids import ProjectId
from understudy.core.limits import MESSAGES_PER_THREAD_MAX
from understudy.wire.messages import CreateMessage, ImageFilePartBody
from understudy.wire.tools import NewToolResourcesBody, ToolResourcesBody

Resources: TypeAlias = ToolResourcesBody | NewToolResourcesBody | None


async def check_references(
    services: Services, project: ProjectId, *resources: Resources, messages: Sequence[CreateMessage] = ()
) -> None:
    """Raises `errors.ApiError` for files and vector stores that the project does not have, and for more messages than
    any thread holds."""
    if len(messages) > MESSAGES_PER_THREAD_MAX:
        # The store would refuse them too, but only after seconds spent on making them and counting their tokens.
        raise errors.thread_full()
    named = [file_id for one in resources for file_id in _files_of_tools(one)]
    named += [file_id for message in messages for file_id in _files_of_message(message)]
    if named:
        for file_id in await services.store.missing_files(project, named, services.now()):
            raise errors.no_such_file(file_id)
    for store_id in (id_ for one in resources for id_ in _stores_of_tools(one)):
        await need_store(services, project, store_id)


def _files_of_tools(resources: Resources) -> Sequence[str]:
    if resources is None or resources.code_interpreter is None:
        return ()
    return resources.code_interpreter.file_ids or ()


def _stores_of_tools(resources: Resources) -> Sequence[str]:
    if resources is None or resources.file_search is None:
        return ()
    return resources.file_search.vector_store_ids or ()


def _files_of_message(message: CreateMessage) -> Iterator[str]:
    for attachment in message.attachments or ():
        yield attachment.file_id
    if not isinstance(message.content, str):
        for part in message.content:
            if isinstance(part, ImageFilePartBody):
                yield part.image_file.file_id
