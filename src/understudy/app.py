"""The composition root: the only place that names adapters. Settings in, an ASGI application out."""

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from understudy import __version__, entropy
from understudy.api.edge import Edge, EdgeSettings
from understudy.api.files import NOT_DOWNLOADED
from understudy.api.routes import operations, router
from understudy.api.services import Services
from understudy.api.v1_answers import V1Answers
from understudy.blobs.opening import open_blobs
from understudy.bus.opening import open_bus
from understudy.documents.reader import ChildDocuments
from understudy.embeddings.choice import ChosenEmbedders
from understudy.embeddings.http import HttpEmbedding
from understudy.embeddings.rerank import HttpReranker
from understudy.embeddings.static import STATIC
from understudy.engine.bounds import RunBounds
from understudy.engine.files import Files
from understudy.engine.images import Images
from understudy.engine.ingest import Ingest
from understudy.engine.journal import Journal
from understudy.engine.place import FilesElsewhere, require_place
from understudy.engine.run_loop import RunLoop
from understudy.engine.runs import Runs
from understudy.engine.search import Searcher
from understudy.engine.sweep import Sweep
from understudy.engine.tools import Tools
from understudy.engine.uploads import Uploads
from understudy.keys import Authenticator
from understudy.model_tables import STAND_IN, UPSTREAM
from understudy.models.http import HttpModels
from understudy.models.local import LocalModels, model_name
from understudy.models.none import NoModels
from understudy.models.router import RoutedModels
from understudy.models.routes import Routes
from understudy.models.upstream import Upstream
from understudy.ports import (
    BlobRefused,
    Blobs,
    Bounds,
    Bus,
    Clock,
    Embedders,
    Models,
    Sandboxes,
    Search,
    Store,
    StoreUnavailable,
)
from understudy.sandbox.limits import SandboxLimits
from understudy.sandbox.opening import open_sandboxes
from understudy.setting_values import without_user
from understudy.settings import SettingError, Settings
from understudy.store.clock import DatabaseClock
from understudy.store.migrations import UnusableDatabase
from understudy.store.opening import open_store, open_vector_index
from understudy.store.rows import RowStore
from understudy.tokens import SplintrTokens
from understudy.tools.code_files import CodeFiles
from understudy.tools.code_interpreter import CodeInterpreter
from understudy.tools.file_search import FileSearch
from understudy.weights import SMOLLM2, TerminalProgress, ensure_weights
from understudy.worker.indexer import Indexer
from understudy.worker.worker import Worker

log = structlog.get_logger()

# Why a process may be unable to start although nothing of it is wrong: each is one sentence for its operator.
START_REFUSALS: Final = (SettingError, StoreUnavailable, UnusableDatabase, BlobRefused, FilesElsewhere, OSError)


def create_app(settings: Settings) -> "Understudy":
    """The application. What it needs is opened when the server starts its lifespan, and closed at its end.

    Raises `SettingError` for settings that do not fit together.
    """
    return Understudy(settings)


class Understudy:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._routes = settings.routes()
        _require_one_place_for_code(settings)
        if settings.vector_index == "pgvector" and settings.database_url is None:
            raise SettingError('vector_index = "pgvector" needs PostgreSQL: set database_url.')
        self._clock: Clock = entropy.now
        self._edge: ASGIApp | None = None
        self.start_failure: Exception | None = None
        self._open = AsyncExitStack()
        self._drain = AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            assert self._edge is not None, "the server must run the application's lifespan"
            await self._edge(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except Exception as error:
            self.start_failure = error
            if not isinstance(error, START_REFUSALS):
                log.exception("start_failed")
            await self.stop()
            await send({"type": "lifespan.startup.failed"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def start(self) -> None:
        settings, opened = self._settings, self._open
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = await open_store(settings.database)
        opened.push_async_callback(store.close)
        await self._keep_time(store)
        node = f"{socket.gethostname()}-{entropy.new_id('request')}"
        bus = await open_bus(self._clock, node=node, redis_url=settings.redis_url, postgres_url=settings.database_url)
        self._drain.push_async_callback(bus.close)
        models = make_models(settings, self._routes)
        opened.push_async_callback(models.close)
        embedders = make_embedders(settings, models)
        opened.push_async_callback(embedders.close)
        blobs = await open_blobs(settings.files_url, settings.files_dir)
        opened.push_async_callback(blobs.close)
        where = without_user(settings.files_url or str(settings.files_dir))
        await require_place(store, blobs, entropy.new_id, where=where)
        self._edge = await self._assemble(node, store, blobs, bus, models, embedders)

    async def _keep_time(self, store: RowStore) -> None:
        if store.keeps_time:
            clock = DatabaseClock(entropy.now, store.time)
            await clock.open()
            self._open.push_async_callback(clock.close)
            self._clock = clock

    async def drain(self) -> None:
        """Hands on what is being worked on and ends the streams, so that the server need not wait for their runs."""
        await self._drain.aclose()

    async def stop(self) -> None:
        """Drains, then closes everything, newest first."""
        await self.drain()
        await self._open.aclose()

    async def _assemble(
        self, node: str, store: Store, blobs: Blobs, bus: Bus, models: Models, embedders: Embedders
    ) -> Edge:
        settings = self._settings
        journal = Journal(store, bus, self._clock)
        tokens = SplintrTokens()
        warming = asyncio.create_task(asyncio.to_thread(tokens.warm))
        self._open.push_async_callback(asyncio.wait, [warming])
        search = await self._search(store, embedders, models)
        files = Files(store, blobs, self._clock, entropy.new_id)
        sandboxes = make_sandboxes(settings)
        self._open.push_async_callback(sandboxes.close)
        code = CodeInterpreter(
            CodeFiles(store, blobs, files, self._clock), sandboxes, call_seconds=settings.sandbox_call_seconds
        )
        tools = _tools(settings, store, search, code, self._clock)
        self._open.push_async_callback(tools.close)
        places = settings.runs_per_worker if settings.worker else 0
        bounds = _bounds(settings, self._routes)
        worker = Worker(store, journal, bus, self._clock, owner=node, places=places, bounds=bounds)
        runs = Runs(store, journal, bus, worker, self._clock, bounds)
        images = Images(store, files, self._clock)
        loop = RunLoop(store, journal, bus, models, tokens, tools, images, clock=self._clock, new_id=entropy.new_id)
        sweep = Sweep(store, runs, files, self._clock, facts_keep_seconds=settings.events_keep_seconds)
        worker.start(loop, sweep)
        self._drain.push_async_callback(worker.stop)
        indexer = self._start_indexer(store, blobs, embedders, node)
        services = Services(
            store=store,
            bus=bus,
            runs=runs,
            models=models,
            tokens=tokens,
            tools=tools,
            clock=self._clock,
            new_id=entropy.new_id,
            run_lifetime_seconds=settings.run_lifetime_seconds,
            body_bytes_max=settings.body_bytes_max,
            lenient=settings.unknown_keys == "drop",
            queue_when_busy=settings.busy_thread == "queue",
            files=files,
            uploads=Uploads(store, files, self._clock, entropy.new_id, part_bytes_max=settings.part_bytes_max),
            file_bytes_max=settings.file_bytes_max,
            upload_bytes_max=settings.upload_bytes_max,
            search=search,
            embedders=embedders,
            wake_indexer=indexer.wake,
            listed_files_only=settings.search_file_types == "listed",
            download_refused=frozenset() if settings.download_assistants_files else frozenset(NOT_DOWNLOADED),
        )
        return Edge(
            V1Answers(router(operations(services), version=__version__)),
            Authenticator(store, settings.api_key, self._clock),
            EdgeSettings(organization=settings.organization, beta_required=settings.beta_header == "required"),
            clock=self._clock,
            new_id=entropy.new_id,
        )

    async def _search(self, store: Store, embedders: Embedders, models: Models) -> Search:
        settings, vectors = self._settings, None
        if settings.vector_index == "pgvector" and settings.database_url is not None:
            vectors = await open_vector_index(store, settings.database_url)
            self._open.push_async_callback(vectors.close)
        reranker = None if settings.rerank_model is None else HttpReranker(models, settings.rerank_model)
        return Searcher(store, embedders, reranker, vectors=vectors, cache_bytes=settings.search_cache_bytes)

    def _start_indexer(self, store: Store, blobs: Blobs, embedders: Embedders, owner: str) -> Indexer:
        settings = self._settings
        documents = ChildDocuments(places=settings.ingest_places, weights=settings.weights_dir)
        self._open.push_async_callback(documents.close)
        ingest = Ingest(store, blobs, documents, embedders, self._clock, built_in=STATIC)
        places = settings.ingest_places if settings.worker else 0
        indexer = Indexer(store, ingest, self._clock, owner=owner, places=places)
        indexer.start()
        self._drain.push_async_callback(indexer.stop)
        return indexer


def make_embedders(settings: Settings, models: Models) -> Embedders:
    """The embedding model of the settings, and the built-in one."""
    asked = None
    if settings.searches_by_words_alone:
        log.info("search_by_words_alone", weights_missing_in=str(settings.weights_dir))
    if settings.embedding_model is not None:
        asked = HttpEmbedding(
            model=settings.embedding_model,
            dimensions=settings.embedding_dimensions,
            request_texts=settings.embedding_request_texts,
        )
    return ChosenEmbedders(models, asked, settings.weights_dir, local=settings.local_embedding)


def make_sandboxes(settings: Settings) -> Sandboxes:
    """Where the code interpreter's code runs, to be closed at the end. Whether it can is found at the first use.

    Raises `SettingError` for settings that do not fit together.
    """
    _require_one_place_for_code(settings)
    return open_sandboxes(
        folder=settings.sandbox,
        mode=settings.code_interpreter,
        urls=(settings.sandbox_urls or "").split(),
        key=settings.sandbox_key,
        limits=sandbox_limits(settings),
        sessions_max=settings.sandbox_sessions,
        warm=settings.sandbox_warm,
    )


def _require_one_place_for_code(settings: Settings) -> None:
    if settings.code_interpreter == "unsafe-local" and settings.sandbox_urls:
        raise SettingError('code_interpreter = "unsafe-local" and sandbox_urls exclude each other: unset one of them.')


def sandbox_limits(settings: Settings) -> SandboxLimits:
    """What each session is held to."""
    return SandboxLimits(memory_bytes=settings.sandbox_memory_bytes, call_seconds=settings.sandbox_call_seconds)


def _bounds(settings: Settings, routes: Routes) -> RunBounds:
    most = {name: table.runs_max for name, table in settings.models.upstreams.items()}
    most[UPSTREAM] = settings.upstream_runs_max
    upstreams = {name: runs_max for name, runs_max in most.items() if runs_max is not None}
    return RunBounds(Bounds(project_max=settings.runs_per_project, upstreams=upstreams), routes.first)


def _tools(settings: Settings, store: Store, search: Search, code: CodeInterpreter, clock: Clock) -> Tools:
    """The built-in tools that runs may use here."""
    details = settings.citation_details
    return Tools([FileSearch(store, store, search, clock, details=details), code], citation_details=details)


def make_models(settings: Settings, routes: Routes) -> Models:
    """The model servers that the routes name, the bundled stand-in among them."""
    if not routes.rows:
        return NoModels()
    return RoutedModels({name: _models_of(name, settings) for name in routes.upstreams()}, routes)


def _models_of(name: str, settings: Settings) -> Models:
    if name == STAND_IN:
        return _stand_in(settings)
    if name == UPSTREAM:
        assert settings.upstream_base_url is not None, "no route may name it then"
        return HttpModels(
            Upstream(
                name=name,
                base_url=settings.upstream_base_url,
                api_key=settings.upstream_api_key,
                headers=settings.upstream_headers,
                context_window_tokens=settings.upstream_context_window,
                connect_seconds=settings.upstream_connect_seconds,
                silence_seconds=settings.upstream_silence_seconds,
            )
        )
    table = settings.models.upstreams[name]
    return HttpModels(
        Upstream(
            name=name,
            base_url=table.base_url,
            api_key=table.api_key,
            headers=dict(table.headers),
            context_window_tokens=table.context_window,
            connect_seconds=table.connect_seconds,
            silence_seconds=table.silence_seconds,
            quirks=table.quirks,
        )
    )


def _stand_in(settings: Settings) -> LocalModels:
    def gguf() -> Path:
        return settings.local_gguf or ensure_weights(settings.weights_dir, SMOLLM2, progress=TerminalProgress())[0]

    name = settings.local_gguf or Path(SMOLLM2.files[0].name)
    return LocalModels(gguf=gguf, model=model_name(name), new_id=entropy.new_id)
