"""The file search: a model's queries over the vector stores of the assistant and of the thread together."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET

from understudy.core import errors
from understudy.core.chat.offers import BuiltInKind, search_options
from understudy.core.ids import ProjectId
from understudy.core.limits import (
    FILE_SEARCH_QUERIES_MAX,
    FILE_SEARCH_RESULTS,
    FILE_SEARCH_RESULTS_SMALL,
    FILE_SEARCH_TOKENS,
    FILE_SEARCH_TOKENS_SMALL,
    FILE_SEARCH_WINDOW_SHARE,
    INDEXING_LOOK_SECONDS,
    INDEXING_WAIT_SECONDS,
    QUOTE_LENGTH_MAX,
)
from understudy.core.run.state import Note, RunSettings, Source
from understudy.ports import (
    Clock,
    EmbeddingFailed,
    Emit,
    Outcome,
    Passage,
    Search,
    SearchRequest,
    Store,
    ToolContext,
    ToolFailed,
    VectorRows,
)
from understudy.tools.passages import Told, tell
from understudy.tools.queries import read_queries
from understudy.wire.chat import ChatFunction
from understudy.wire.runs import Run
from understudy.wire.steps import FileSearchCall, FileSearchOutcome, FileSearchResult, FunctionCall, ToolCall
from understudy.wire.threads import Thread
from understudy.wire.tools import ToolResources

_DESCRIPTION: Final = (
    "Searches the files that the user has provided, and returns the passages that fit best, each with a marker to cite "
    "it by. Use it whenever the answer may be in those files. Several queries, each about one thing, find more than a "
    "single long one."
)
_PARAMETERS: Final = {
    "type": "object",
    "properties": {
        "queries": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "maxItems": FILE_SEARCH_QUERIES_MAX,
            "description": "What to look for: whole questions or a few key words, in the language of the files.",
        }
    },
    "required": ["queries"],
}
_NO_QUERIES: Final = (
    'The call could not be read. Call again with a JSON object of this form: {"queries": ["what to look for"]}.'
)
_NO_FILES: Final = "There are no files to search. Answer without them, and say so."
_NOTHING: Final = "Nothing was found. Try other words, or answer without the files and say so."
_NO_ROOM: Final = "There is no room left for what was found. Answer with what you have."


class FileSearch:
    """Implements `ports.BuiltIn`."""

    kind: BuiltInKind = "file_search"

    def __init__(
        self,
        store: Store,
        rows: VectorRows,
        search: Search,
        clock: Clock,
        *,
        details: bool = False,
        wait_seconds: float = INDEXING_WAIT_SECONDS,
    ) -> None:
        """`details`: results also carry the quote and its page. A run waits `wait_seconds` for its thread's files."""
        self._store = store
        self._rows = rows
        self._search = search
        self._clock = clock
        self._details = details
        self._wait_seconds = wait_seconds

    async def function(self, project: ProjectId, run: Run, settings: RunSettings) -> ChatFunction:  # noqa: ARG002 same
        return ChatFunction(name=self.kind, description=_DESCRIPTION, parameters=_PARAMETERS)

    async def check(self, project: ProjectId, settings: RunSettings, thread_resources: ToolResources) -> None:
        stores = [*_stores(settings.assistant_resources), *_stores(thread_resources)]
        if (expired := await self._expired(project, stores)) is not None:
            raise errors.store_expired(expired)

    async def prepare(self, project: ProjectId, run: Run, settings: RunSettings) -> None:
        of_thread = await self._stores_of_thread(project, run.thread_id)
        if (expired := await self._expired(project, [*_stores(settings.assistant_resources), *of_thread])) is not None:
            raise ToolFailed(errors.store_expired(expired).message)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._wait_seconds
        # Rows are looked at again and again: the files may be indexed by another process.
        while of_thread and await self._rows.being_indexed(of_thread):
            if loop.time() >= until:
                return
            await asyncio.sleep(INDEXING_LOOK_SECONDS)

    async def call(self, context: ToolContext, call: FunctionCall, emit: Emit) -> Outcome:  # noqa: ARG002 the protocol's
        queries = read_queries(call.function.arguments)
        if not queries:
            return self._outcome(context, call, "{}", Told(_NO_QUERIES, ()), ())
        arguments = msgspec.json.encode({"queries": queries}).decode()
        of_thread = await self._stores_of_thread(context.project, context.run.thread_id)
        stores = list(dict.fromkeys([*_stores(context.settings.assistant_resources), *of_thread]))
        if not stores:
            return self._outcome(context, call, arguments, Told(_NO_FILES, ()), ())
        passages = await self._found(context, stores, queries)
        told = tell(
            passages,
            turn=context.turn,
            first=context.first_source,
            budget_tokens=_budget_tokens(context),
            count=context.count,
        )
        if not told.sources:
            told = Told(_NO_ROOM if passages else _NOTHING, ())
        return self._outcome(context, call, arguments, told, passages)

    async def take_back(self, project: ProjectId, call: ToolCall, note: Note | None) -> None:
        """A search makes nothing."""

    async def leave(self, project: ProjectId, thread_id: str) -> None:
        """Nothing is kept for a thread but its store, which lasts for as long as it says."""

    async def close(self) -> None:
        """Nothing of it outlasts a call."""

    async def _found(self, context: ToolContext, stores: Sequence[str], queries: Sequence[str]) -> Sequence[Passage]:
        options = search_options(context.settings)
        few = _is_small(context.settings.model)
        limit = FILE_SEARCH_RESULTS_SMALL if few else FILE_SEARCH_RESULTS
        request = SearchRequest(
            queries=queries,
            limit=limit if options.max_num_results is UNSET else options.max_num_results,
            score_threshold=options.ranking_options.score_threshold,
        )
        await self._rows.use_vector_stores(stores, int(self._clock()))
        try:
            return await self._search.search(stores, request)
        except EmbeddingFailed as error:
            # An answer without the files looks like one with them: a run that says what failed is worth more.
            raise ToolFailed(f"The files could not be searched: {error.message}") from error

    def _outcome(
        self, context: ToolContext, call: FunctionCall, arguments: str, told: Told, passages: Sequence[Passage]
    ) -> Outcome:
        """With the passages that the model was told of: only those can it cite."""
        results = [
            self._result(passage, told.output[source.start : source.end], source)
            for passage, source in zip(passages, told.sources, strict=False)
        ]
        ranking = search_options(context.settings).ranking_options
        return Outcome(
            call=FileSearchCall(id=call.id, file_search=FileSearchOutcome(ranking_options=ranking, results=results)),
            note=Note(
                arguments=arguments,
                output=told.output,
                sources=[*told.sources],
                turn=context.turn,
                first=context.first_source,
            ),
        )

    def _result(self, passage: Passage, text: str, source: Source) -> FileSearchResult:
        result = FileSearchResult(file_id=passage.file_id, file_name=passage.file_name, score=passage.score)
        if not self._details:
            return result
        page = UNSET if source.page is None else source.page
        return msgspec.structs.replace(result, quote=text[:QUOTE_LENGTH_MAX], page=page)

    async def _stores_of_thread(self, project: ProjectId, thread_id: str) -> Sequence[str]:
        """As they are now: messages bring files, and with the first of them a store."""
        body = await self._store.body("thread", project, None, thread_id)
        return () if body is None else _stores(msgspec.json.decode(body, type=Thread).tool_resources)

    async def _expired(self, project: ProjectId, stores: Sequence[str]) -> str | None:
        for store_id in stores:
            stored = await self._rows.vector_store(project, store_id)
            if stored is not None and (
                stored.store.status == "expired"
                or (stored.store.expires_at is not None and stored.store.expires_at <= self._clock())
            ):
                return store_id
        return None


def _stores(resources: ToolResources) -> Sequence[str]:
    return () if resources.file_search is UNSET else resources.file_search.vector_store_ids


def _is_small(model: str) -> bool:
    """The family for which the vendor published smaller numbers."""
    return "gpt-3.5" in model or "gpt-35" in model


def _budget_tokens(context: ToolContext) -> int:
    """What all passages of a call may cost. Each call leaves half of what room there was, so that others have some."""
    published = FILE_SEARCH_TOKENS_SMALL if _is_small(context.settings.model) else FILE_SEARCH_TOKENS
    return min(published, context.context_window_tokens // FILE_SEARCH_WINDOW_SHARE, context.room_tokens // 2)
