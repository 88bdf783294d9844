"""Every route that is served, in one table: the router and `/openapi.json` are both made from it."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from understudy.api.assistants import Assistants
from understudy.api.files import FileRoutes
from understudy.api.health import Health
from understudy.api.messages import Messages
from understudy.api.models import ModelRoutes
from understudy.api.openapi import document
from understudy.api.operation import Handler, Operation
from understudy.api.operation import made_operation as _op
from understudy.api.runs import RunRoutes
from understudy.api.services import Services
from understudy.api.steps import Steps
from understudy.api.threads import Threads
from understudy.api.uploads import UploadRoutes
from understudy.api.vector_store_routes import vector_store_operations
from understudy.core import errors
from understudy.wire.assistants import Assistant, CreateAssistant, UpdateAssistant
from understudy.wire.base import Deleted
from understudy.wire.files import CreateFile, File, ListFilesQuery
from understudy.wire.lists import (
    IncludeQuery,
    ListMessagesQuery,
    ListQuery,
    ListStepsQuery,
    ListThreadsQuery,
    RunQuery,
)
from understudy.wire.messages import CreateMessage, Message, UpdateMessage
from understudy.wire.models import Model, Models
from understudy.wire.runs import CreateRun, CreateThreadAndRun, Run, SubmitToolOutputs, UpdateRun
from understudy.wire.steps import RunStep
from understudy.wire.threads import CreateThread, Thread, UpdateThread
from understudy.wire.uploads import AddUploadPart, CompleteUpload, CreateUpload, Upload, UploadPart

_V1_FILES = re.compile(r"^/(assistants/[^/]+|threads/[^/]+/messages/[^/]+)/files(/[^/]*)?$")
_V1_FILES_HINT = " In v2 files hang on 'tool_resources' of assistants and threads, and on 'attachments' of messages."


def operations(services: Services) -> Sequence[Operation]:
    """All operations, the busiest paths first: the router looks at them in this order."""
    return [
        *_runs(RunRoutes(services), Steps(services)),
        *_messages(Messages(services)),
        *_threads(Threads(services)),
        *_assistants(Assistants(services)),
        *_files(FileRoutes(services)),
        *_uploads(UploadRoutes(services)),
        *vector_store_operations(services),
        *_models(ModelRoutes(services)),
        *_health(Health(services)),
    ]


def _runs(runs: RunRoutes, steps: Steps) -> Sequence[Operation]:
    run = "/threads/{thread_id}/runs/{run_id}"
    return [
        _op("GET", run, "getRun", "Retrieve a run.", runs.retrieve, query=RunQuery, answer=Run),
        _op("GET", f"{run}/stream", "streamRun", "Stream a run, again or further.", runs.stream, streams=True),
        _op("POST", run, "modifyRun", "Change a run's metadata.", runs.update, body=UpdateRun, answer=Run),
        _op(
            "POST",
            "/threads/{thread_id}/runs",
            "createRun",
            "Run a thread.",
            runs.create,
            body=CreateRun,
            query=IncludeQuery,
            answer=Run,
            streams=True,
            queues=True,
        ),
        _op("GET", "/threads/{thread_id}/runs", "listRuns", "List runs.", runs.list, query=ListQuery, item=Run),
        _op(
            "POST",
            "/threads/runs",
            "createThreadAndRun",
            "Create a thread and run it.",
            runs.create_with_thread,
            body=CreateThreadAndRun,
            answer=Run,
            streams=True,
        ),
        _op(
            "POST",
            f"{run}/submit_tool_outputs",
            "submitToolOuputsToRun",  # spelled so in the vendor's description
            "Answer the calls that a run waits for.",
            runs.submit_tool_outputs,
            body=SubmitToolOutputs,
            answer=Run,
            streams=True,
        ),
        _op("POST", f"{run}/cancel", "cancelRun", "Cancel a run.", runs.cancel, answer=Run),
        _op(
            "GET", f"{run}/steps", "listRunSteps", "List a run's steps.", steps.list, query=ListStepsQuery, item=RunStep
        ),
        _op(
            "GET",
            f"{run}/steps/{{step_id}}",
            "getRunStep",
            "Retrieve a run step.",
            steps.retrieve,
            query=IncludeQuery,
            answer=RunStep,
        ),
    ]


def _messages(messages: Messages) -> Sequence[Operation]:
    message = "/threads/{thread_id}/messages/{message_id}"
    return [
        _op(
            "POST",
            "/threads/{thread_id}/messages",
            "createMessage",
            "Add a message to a thread.",
            messages.create,
            body=CreateMessage,
            answer=Message,
            queues=True,
        ),
        _op(
            "GET",
            "/threads/{thread_id}/messages",
            "listMessages",
            "List a thread's messages.",
            messages.list,
            query=ListMessagesQuery,
            item=Message,
        ),
        _op("GET", message, "getMessage", "Retrieve a message.", messages.retrieve, answer=Message),
        _op(
            "POST",
            message,
            "modifyMessage",
            "Change a message's metadata.",
            messages.update,
            body=UpdateMessage,
            answer=Message,
        ),
        _op("DELETE", message, "deleteMessage", "Delete a message.", messages.delete, answer=Deleted),
    ]


def _threads(threads: Threads) -> Sequence[Operation]:
    return [
        _op("GET", "/threads", "listThreads", "List threads.", threads.list, query=ListThreadsQuery, item=Thread),
        _op("POST", "/threads", "createThread", "Create a thread.", threads.create, body=CreateThread, answer=Thread),
        _op("GET", "/threads/{thread_id}", "getThread", "Retrieve a thread.", threads.retrieve, answer=Thread),
        _op(
            "POST",
            "/threads/{thread_id}",
            "modifyThread",
            "Change a thread.",
            threads.update,
            body=UpdateThread,
            answer=Thread,
        ),
        _op(
            "DELETE",
            "/threads/{thread_id}",
            "deleteThread",
            "Delete a thread and all that is in it.",
            threads.delete,
            answer=Deleted,
        ),
    ]


def _assistants(assistants: Assistants) -> Sequence[Operation]:
    assistant = "/assistants/{assistant_id}"
    return [
        _op("GET", assistant, "getAssistant", "Retrieve an assistant.", assistants.retrieve, answer=Assistant),
        _op(
            "POST",
            assistant,
            "modifyAssistant",
            "Change an assistant.",
            assistants.update,
            body=UpdateAssistant,
            answer=Assistant,
        ),
        _op("DELETE", assistant, "deleteAssistant", "Delete an assistant.", assistants.delete, answer=Deleted),
        _op(
            "POST",
            "/assistants",
            "createAssistant",
            "Create an assistant.",
            assistants.create,
            body=CreateAssistant,
            answer=Assistant,
        ),
        _op(
            "GET", "/assistants", "listAssistants", "List assistants.", assistants.list, query=ListQuery, item=Assistant
        ),
    ]


def _files(files: FileRoutes) -> Sequence[Operation]:
    file = "/files/{file_id}"
    return [
        _op("GET", file, "retrieveFile", "Retrieve a file.", files.retrieve, answer=File),
        _op("DELETE", file, "deleteFile", "Delete a file, also where it is used.", files.delete, answer=Deleted),
        _op("GET", f"{file}/content", "downloadFile", "Download a file's content.", files.content, downloads=True),
        _op(
            "POST",
            "/files",
            "createFile",
            "Upload a file.",
            files.create,
            body=CreateFile,
            file_field="file",
            answer=File,
        ),
        _op("GET", "/files", "listFiles", "List files.", files.list, query=ListFilesQuery, item=File),
    ]


def _uploads(uploads: UploadRoutes) -> Sequence[Operation]:
    upload = "/uploads/{upload_id}"
    return [
        _op(
            "POST",
            f"{upload}/parts",
            "addUploadPart",
            "Add a part to an upload.",
            uploads.add_part,
            body=AddUploadPart,
            file_field="data",
            answer=UploadPart,
        ),
        _op(
            "POST",
            f"{upload}/complete",
            "completeUpload",
            "Make a file of an upload's parts.",
            uploads.complete,
            body=CompleteUpload,
            answer=Upload,
        ),
        _op("POST", f"{upload}/cancel", "cancelUpload", "Cancel an upload.", uploads.cancel, answer=Upload),
        _op(
            "POST",
            "/uploads",
            "createUpload",
            "Begin an upload of a file in parts.",
            uploads.create,
            body=CreateUpload,
            answer=Upload,
        ),
    ]


def _models(models: ModelRoutes) -> Sequence[Operation]:
    return [
        _op("GET", "/models", "listModels", "List the model servers' models.", models.list, answer=Models),
        _op("GET", "/models/{model:path}", "retrieveModel", "Retrieve a model.", models.retrieve, answer=Model),
        _op(
            "POST",
            "/chat/completions",
            "createChatCompletion",
            "Passed through to the model server.",
            models.chat_completions,
        ),
        _op("POST", "/embeddings", "createEmbedding", "Passed through to the model server.", models.embeddings),
    ]


def _health(health: Health) -> Sequence[Operation]:
    return [
        _op("GET", "/healthz", "health", "Whether the process answers.", health.alive),
        _op("GET", "/readyz", "readiness", "Whether the server can read and write.", health.ready),
    ]


def router(table: Sequence[Operation], *, version: str) -> Router:
    by_path: dict[str, dict[str, Handler]] = defaultdict(dict)
    for operation in table:
        by_path[operation.path][operation.method] = operation.handler

    @cache
    def described() -> bytes:
        # Made when it is first asked for: it takes as long as the rest of the server's start.
        return msgspec.json.encode(document(table, version=version))

    async def openapi(_: Request) -> Response:
        return Response(described(), media_type="application/json")

    by_path["/openapi.json"]["GET"] = openapi
    routes = [Route(path, endpoint=_Methods(handlers)) for path, handlers in by_path.items()]
    return Router(routes, redirect_slashes=False, default=_unknown)


class _Methods:
    """One path's handlers by method."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        # Monitors ask with HEAD; the server leaves the body out by itself.
        handler = self._handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            raise errors.wrong_method(request.method, scope["understudy.path"])
        response = await handler(request)
        await response(scope, receive, send)


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 ASGI's signature
    refusal = errors.unknown_url(scope["method"], scope["understudy.path"])
    if _V1_FILES.match(scope["path"]):
        refusal.message += _V1_FILES_HINT
    raise refusal
