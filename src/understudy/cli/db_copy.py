"""`understudy db copy`: an installation's rows, and the content of its files, into other places."""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from msgspec import Struct

from understudy.blobs.copying import ContentCopied, copy_content
from understudy.blobs.local import LocalBlobs
from understudy.blobs.opening import open_blobs
from understudy.cli.databases import Database, finished, named, shown
from understudy.cli.progress import open_progress
from understudy.cli.terminal import Stop
from understudy.keys import FIRST_KEY_FILE
from understudy.ports import Blobs
from understudy.setting_values import S3Url, decode
from understudy.settings import Settings
from understudy.store.copying import Copied, Copy, content_keys
from understudy.store.opening import upgrade_database
from understudy.store.sides import Side, open_side
from understudy.store.status import active_runs

__all__ = ["Places", "copy"]


class Places(Struct, frozen=True, kw_only=True):
    """What the command line names. Without a target, it is that of the settings."""

    source: str | None = None
    target: str | None = None
    files_source: str | None = None
    files_target: str | None = None


def copy(settings: Settings, places: Places) -> None:
    """Copies rows, content, or both, and says what is left to do. Raises `Stop`."""
    if places.source is None and places.files_source is None:
        raise Stop("There is nothing to copy: name a database with --from, or a place of files with --files-from.")
    source = None if places.source is None else named(places.source, "--from", settings)
    target = named(places.target, "--to", settings)
    if source == target:
        raise Stop("--from and --to are the same database.")
    finished(_copy(settings, source, target, places))


async def _copy(settings: Settings, source: Database | None, target: Database, places: Places) -> None:
    async with AsyncExitStack() as opened:
        here = None if source is None else await _opened(opened, source)
        if here is not None:
            if isinstance(target, Path):
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            await upgrade_database(target)
        there = await _opened(opened, target, writes=here is not None)
        rows, copied = None, None
        if here is not None and source is not None:
            rows, copied = await _copy_rows(here, there, shown(source))
        content = None
        if places.files_source is not None:
            old = await _open_source_files(settings, places.files_source)
            opened.push_async_callback(old.close)
            new = await _open_target_files(settings, places.files_target)
            opened.push_async_callback(new.close)
            content = await _copy_files(here or there, old, new)
        if rows is not None:
            await rows.end()
        for line in await _what_is_left(there, copied, content):
            print(line)
    if content is not None and content.missing:
        raise Stop(f"The content of {content.missing:,} files is not in {places.files_source}: they stay without it.")


async def _opened(stack: AsyncExitStack, database: Database, *, writes: bool = False) -> Side:
    side = await open_side(database, writes=writes)
    stack.push_async_callback(side.close)
    return side


# --- rows


async def _copy_rows(source: Side, target: Side, source_name: str) -> tuple[Copy, Copied]:
    begun = time.monotonic()
    with open_progress() as tell:
        copy = Copy(
            source,
            target,
            source_name=source_name,
            tell=lambda doing, table, done, total: tell(f"{doing} {table}", done, total),
        )
        copied = await copy.run()
    seconds = time.monotonic() - begun
    rows = f"{copied.rows:,} rows of {len(copied.tables)} tables"
    if copied.added < copied.rows:
        print(f"Went on with a copy that was begun before: {copied.rows - copied.added:,} rows were there.")
    print(f"Copied {copied.added:,} rows and compared {rows} on both sides, in {seconds:.1f} s: they are alike.")
    print(", ".join(f"{name} {count:,}" for name, count in copied.tables.items() if count))
    if copied.left_out:
        print(f"{copied.left_out:,} pairs of metadata that differ from others in NUL alone became one with them.")
    return copy, copied


# --- content


async def _open_source_files(settings: Settings, place: str) -> Blobs:
    where = _files_place(place, "--files-from")
    if isinstance(where, str):
        return await open_blobs(where, settings.files_dir)
    if not where.is_dir():
        raise Stop(f"There is no directory {where}.")
    # Not opened as a server does, which removes what others left half-written.
    return LocalBlobs(where)


async def _open_target_files(settings: Settings, place: str | None) -> Blobs:
    if place is None:
        return await open_blobs(settings.files_url, settings.files_dir)
    where = _files_place(place, "--files-to")
    if isinstance(where, str):
        return await open_blobs(where, settings.files_dir)
    where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return await open_blobs(None, where)


def _files_place(text: str, what: str) -> Path | str:
    """A bucket's URL, or a directory of content: `files` in a data directory, or what looks like one by itself."""
    if text.startswith("s3:"):
        return str(decode(text, S3Url, what=what, source="the command line", strict=False))
    path = Path(text).expanduser()
    return path if path.name == "files" or (path / "partial").is_dir() else path / "files"


async def _copy_files(named_by: Side, source: Blobs, target: Blobs) -> ContentCopied:
    begun = time.monotonic()
    with open_progress() as tell:
        async with named_by.snapshot(), aclosing(content_keys(named_by)) as keys:
            content = await copy_content(source, target, keys, lambda done, _: tell("copying content", done, 0))
    print(
        f"Copied the content of {content.copied:,} files, {content.found:,} were there, and compared them "
        f"({content.bytes:,} bytes) on both sides, in {time.monotonic() - begun:.1f} s."
    )
    return content


# --- what is left


async def _what_is_left(target: Side, copied: Copied | None, content: ContentCopied | None) -> Sequence[str]:
    if copied is None:
        return []
    lines = ["What is left to do:"]
    if content is None:
        files = copied.tables["files"] + copied.tables["upload_parts"]
        lines.append(
            f"- The content of {files:,} files stays where it is. New servers that are to keep theirs elsewhere do not "
            "start before `understudy db copy --files-from PLACE --files-to PLACE` has moved it."
        )
    if active := await target.ask(active_runs()):
        lines.append(f"- {active:,} runs have not ended: the first server that works takes them on.")
    if copied.tables["api_keys"]:
        lines.append(
            f"- The API keys go on working. A data directory's file {FIRST_KEY_FILE} is only read to say the first key "
            "again: take it along to the data directory of the new servers, or their first start makes one more key."
        )
    lines.append("- A key in the setting api_key is no row: set it for the new servers too.")
    return lines
