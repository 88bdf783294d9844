"""The `understudy` command. What a command does stands in a module of its own, imported when it is used."""

import sys
from typing import Annotated

import typer

from understudy import __version__
from understudy.cli.flags import ALL, with_settings
from understudy.cli.terminal import Stop, note
from understudy.setting_sources import Loaded
from understudy.settings import SettingError

__all__ = ["commands", "main"]

INTERRUPTED = 130
# What only a process that answers requests reads.
_OF_REQUESTS = frozenset(
    [
        *("host", "port", "api_key", "body_bytes_max", "organization", "default_model", "worker"),
        *("run_lifetime_seconds", "busy_thread", "file_bytes_max", "upload_bytes_max", "part_bytes_max"),
        *("download_assistants_files", "search_file_types", "unknown_keys", "beta_header"),
    ]
)
WORKER = tuple(name for name in ALL if name not in _OF_REQUESTS)
SANDBOX = tuple(name for name in ALL if name.startswith("sandbox_"))


def main() -> None:
    """The entry point."""
    try:
        commands()()
    except (Stop, SettingError) as stop:
        note(f"understudy: {stop}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output went away. Python would complain once more when it flushes stdout at exit.
        sys.stdout = None
        sys.exit(1)


def commands() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        name="understudy",
        help="A self-hosted, drop-in server for the Assistants API v2.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.command()(serve)
    app.command()(worker)
    app.command()(chat)
    keys = typer.Typer(help="Make, list and revoke API keys; a running server follows within seconds.")
    keys.command("create")(keys_create)
    keys.command("list")(keys_list)
    keys.command("revoke")(keys_revoke)
    app.add_typer(keys, name="keys", no_args_is_help=True)
    model = typer.Typer(help="The bundled stand-in model.")
    model.command("fetch")(model_fetch)
    app.add_typer(model, name="model", no_args_is_help=True)
    embedding = typer.Typer(help="The built-in embedding, by which file search finds what is meant.")
    embedding.command("fetch")(embedding_fetch)
    app.add_typer(embedding, name="embedding", no_args_is_help=True)
    sandbox = typer.Typer(help="Where the code interpreter runs Python; see docs/code-interpreter.md.")
    sandbox.command("init")(sandbox_init)
    sandbox.command("check")(sandbox_check)
    sandbox.command("serve")(sandbox_serve)
    app.add_typer(sandbox, name="sandbox", no_args_is_help=True)
    db = typer.Typer(help="The database: where it is, its upgrades, and its move to another one.")
    db.command("status")(db_status)
    db.command("upgrade")(db_upgrade)
    db.command("copy")(db_copy)
    app.add_typer(db, name="db", no_args_is_help=True)
    app.command("reindex")(reindex)
    app.command("settings")(settings)
    return app


def _version(asked: bool) -> None:
    if asked:
        print(f"understudy {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    pass


@with_settings(*ALL)
def serve(loaded: Loaded) -> None:
    """Start the server."""
    from understudy.cli.serve import serve as run

    run(loaded)


@with_settings(*WORKER)
def worker(loaded: Loaded) -> None:
    """Work on runs and index files for the servers on the same database, without answering requests."""
    from understudy.cli.worker import work

    work(loaded)


@with_settings("host", "port", "data_dir", "default_model")
def chat(
    loaded: Loaded,
    model: Annotated[str | None, typer.Option(help="Model to talk to.", metavar="NAME")] = None,
    instructions: Annotated[
        str, typer.Option(help="The assistant's instructions.", metavar="TEXT")
    ] = "You are a helpful assistant.",
    base_url: Annotated[
        str | None, typer.Option(help="The server. (OPENAI_BASE_URL, default: the one on this machine)", metavar="URL")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(help="Its key. (OPENAI_API_KEY, default: the key in the data directory)", metavar="KEY"),
    ] = None,
) -> None:
    """Talk to an assistant in the terminal, over the server's own API.

    /new begins a new conversation, /quit or Ctrl-D ends, Ctrl-C cancels the answer that is being written.
    Piped input works too: one message per line, the answers come on stdout.
    """
    import os

    from understudy.cli.chat import chat as run
    from understudy.cli.client import target

    settings = loaded.settings
    where = target(settings, os.environ, base_url=base_url, api_key=api_key)
    run(where, model=model or settings.default_model, instructions=instructions)


@with_settings("data_dir")
def keys_create(
    loaded: Loaded,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    project: Annotated[
        str, typer.Option(help="Project whose objects the key opens; keys of one project see the same objects.")
    ] = "default",
) -> None:
    """Make a key and print it, this once."""
    from understudy.cli.keys import create

    create(loaded.settings, name, project)


@with_settings("data_dir")
def keys_list(loaded: Loaded) -> None:
    """List the keys, without the keys themselves."""
    from understudy.cli.keys import show

    show(loaded.settings)


@with_settings("data_dir")
def keys_revoke(loaded: Loaded, key_id: Annotated[str, typer.Argument(help="Id of the key, as listed.")]) -> None:
    """Make a key worthless."""
    from understudy.cli.keys import revoke

    revoke(loaded.settings, key_id)


@with_settings("data_dir")
def model_fetch(loaded: Loaded) -> None:
    """Fetch the stand-in's weights into the data directory."""
    from understudy.cli.model import fetch
    from understudy.weights import SMOLLM2

    fetch(loaded.settings, SMOLLM2)


@with_settings("data_dir")
def embedding_fetch(
    loaded: Loaded,
    minilm: Annotated[bool, typer.Option("--minilm", help="Those of all-MiniLM-L6-v2 (84 MB) instead.")] = False,
) -> None:
    """Fetch the built-in embedding's weights (19 MB) into the data directory."""
    from understudy.cli.model import fetch
    from understudy.weights import MINILM, WORDLLAMA

    fetch(loaded.settings, MINILM if minilm else WORDLLAMA)


@with_settings("data_dir", "sandbox_dir")
def sandbox_init(
    loaded: Loaded,
    profile: Annotated[
        str, typer.Option(help="What it holds: minimal (plots and arrays), standard (data and documents) or full.")
    ] = "standard",
    python: Annotated[
        str | None, typer.Option(help="Its interpreter, 3.11 to 3.13; without one the server's own.", metavar="PATH")
    ] = None,
) -> None:
    """Make the environment that assistants' Python runs in, or replace it by another profile."""
    from understudy.cli.sandbox import init

    init(loaded.settings, profile, python)


@with_settings("data_dir", "code_interpreter", *SANDBOX)
def sandbox_check(
    loaded: Loaded,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object instead.")] = False,
) -> None:
    """Run code that tries to get out of the sandbox; where it cannot run, say what mends it, and exit with 1."""
    from understudy.cli.sandbox import check

    if not check(loaded.settings, as_json=as_json):
        raise typer.Exit(1)


@with_settings("data_dir", "log_level", "log_format", *(name for name in SANDBOX if name != "sandbox_urls"))
def sandbox_serve(
    loaded: Loaded,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65_535)] = 8100,
) -> None:
    """Run code for servers on other machines; they name it in `sandbox_urls` and show it `sandbox_key`."""
    from understudy.cli.sandbox import serve

    serve(loaded.settings, host, port)


_Database = Annotated[
    str | None, typer.Argument(help="sqlite:PATH or a postgresql:// URL; without one, that of the settings.")
]


@with_settings("data_dir", "database_url", "redis_url", "files_url")
def db_status(
    loaded: Loaded,
    database: _Database = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object instead.")] = False,
) -> None:
    """Show where rows, live events and files are kept, the version of the tables, and how much is in them.

    It changes nothing, and a server may run meanwhile.
    """
    from understudy.cli.db import status

    status(loaded.settings, database, as_json=as_json)


@with_settings("data_dir", "database_url", "vector_index")
def db_upgrade(loaded: Loaded, database: _Database = None) -> None:
    """Bring the tables up to date, as the start of a server does; servers may run meanwhile."""
    from understudy.cli.db import upgrade

    upgrade(loaded.settings, database)


@with_settings("data_dir", "database_url", "files_url")
def db_copy(
    loaded: Loaded,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", help="sqlite:PATH, a file or a data directory, or a postgresql:// URL.", metavar="DATABASE"
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--to", help="The same, and empty; without it, the database of the settings.", metavar="DATABASE"),
    ] = None,
    files_from: Annotated[
        str | None,
        typer.Option(help="Data directory or s3://bucket/prefix whose content of files is copied.", metavar="PLACE"),
    ] = None,
    files_to: Annotated[
        str | None,
        typer.Option(help="The same, to copy it to; without it, the place of the settings.", metavar="PLACE"),
    ] = None,
) -> None:
    """Copy a database, or the content of files, or both, to another place; see docs/scale-out.md.

    Stop the servers of both first. The source stays as it is. Begun again, the command goes on where it was
    interrupted. At the end both are read once more and compared. Without --from, the files that the database of
    --to knows are copied alone.
    """
    from understudy.cli.db_copy import Places, copy

    copy(
        loaded.settings,
        Places(source=source, target=target, files_source=files_from, files_target=files_to),
    )


@with_settings(
    *("data_dir", "upstream_base_url", "upstream_api_key", "upstream_headers"),
    *("embedding_model", "embedding_dimensions", "embedding_request_texts", "local_embedding"),
)
def reindex(
    loaded: Loaded,
    store_ids: Annotated[
        list[str] | None, typer.Argument(help="Vector stores; without any, all that another embedding made.")
    ] = None,
) -> None:
    """Embed vector stores anew, after the embedding was changed.

    They go on answering as before until each is done; a server may run meanwhile. Begun again, the command goes on
    where it was interrupted.
    """
    from understudy.cli.reindex import reindex_stores

    reindex_stores(loaded.settings, store_ids or [])


@with_settings(*ALL)
def settings(
    loaded: Loaded,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md instead.")] = False,
) -> None:
    """Show the value of every setting and where it comes from, secrets masked."""
    from understudy.cli.docs import settings_page, settings_table

    print(settings_page() if markdown else settings_table(loaded), end="")


if __name__ == "__main__":
    main()
