"""One database's rows into another that is empty, of the same engine or not: `understudy db copy`.

How far each table has come stands in the target's table `copied`, written with the rows themselves: whatever breaks the
copy off, it goes on behind the last row that is there. At the end both databases are read once more and compared.
"""
# ruff: noqa: S608 - only names of our own are put into SQL

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from understudy.store.migrations import MIGRATIONS, Schema
from understudy.store.operations import Op, Query, Row
from understudy.store.sides import Side, Table, own_tables, row_counts, schema_of
from understudy.store.tally import Tally

# What is told on the way: what is being done, to which table, rows done of it and in all.
Tell: TypeAlias = Callable[[str, str, int, int], None]

COPYING: Final = "copying"
CHECKING: Final = "checking"

# No index: a command's query. A lease that has not run out is held by a process that works.
_HELD = (
    "SELECT COUNT(*) FROM (SELECT id FROM runs WHERE lease_until > ? "
    "UNION ALL SELECT file_id FROM store_files WHERE lease_until > ?) held"
)
_PROGRESS = "SELECT name, progress FROM copied"
_NOTED = "SELECT name FROM copied WHERE name = ? AND progress = ?"
_NOTE = "UPDATE copied SET progress = ? WHERE name = ?"
_BEGIN = "INSERT INTO copied (name, progress) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING name"
_END = "DELETE FROM copied"

# What the start of a server leaves in an empty database: it goes.
_OF_ANY_START: Final = frozenset({"meta", "installation"})
_ANOTHER: Final = "Another copy into the target is going on."


class CopyRefused(Exception):
    """The copy cannot begin, or go on. Its text is a sentence for the operator."""


class CopyDiffers(CopyRefused):
    """Tables do not have the same rows on both sides. The same copy, begun again, makes them anew."""


class _Progress(Struct, frozen=True, kw_only=True):
    """Of one table. `left_out` are rows of the source that are others of its rows in the target's engine."""

    source: str
    after: tuple[int | str, ...] | None = None
    rows: int = 0
    left_out: Tally = Tally()
    anew: bool = False


_decode = msgspec.json.Decoder(_Progress).decode
_encode = msgspec.json.Encoder().encode


class Copied(Struct, frozen=True, kw_only=True):
    """What was copied, by table; `added` is how many rows of them this call wrote."""

    tables: Mapping[str, int]
    added: int
    left_out: int

    @property
    def rows(self) -> int:
        return sum(self.tables.values())


class Copy:
    """From one side to another. `source_name` is how the source is known to a copy that is begun again."""

    def __init__(self, source: Side, target: Side, *, source_name: str, tell: Tell) -> None:
        self._source = source
        self._target = target
        self._source_name = source_name
        self._tell = tell
        self._tables = own_tables()

    async def run(self) -> Copied:
        """Copies what is missing and compares everything. The target cannot be worked on before `end`.

        Raises `CopyRefused`, `CopyDiffers`, `StoreUnavailable`.
        """
        await self._require_same_schema()
        await self._require_rest()
        progress = await self._target.change(_begin(self._tables, self._source_name))
        totals = await self._source.ask(row_counts(table.name for table in self._tables))
        before = sum(one.rows for one in progress.values() if not one.anew)
        async with self._source.snapshot():
            for table in self._tables:
                progress[table.name] = await self._copy(table, progress[table.name], totals[table.name])
                if number := await self._source.number(table):
                    await self._target.number_from(table, number)
        await self._target.settle()
        await self._compare(progress)
        rows = {name: one.rows for name, one in progress.items()}
        left_out = sum(one.left_out.rows for one in progress.values())
        return Copied(tables=rows, added=sum(rows.values()) - before, left_out=left_out)

    async def end(self) -> None:
        """Servers may start on the target."""
        await self._target.change(_end())

    async def _require_same_schema(self) -> None:
        for side, schema in (("source", await schema_of(self._source)), ("target", await schema_of(self._target))):
            if schema.version != len(MIGRATIONS):
                raise CopyRefused(_other_schema(side, schema))

    async def _require_rest(self) -> None:
        if any((await self._source.ask(row_counts(["copied"]))).values()):
            raise CopyRefused("The source holds an unfinished copy of another database itself.")
        if held := await self._source.ask(_held(await self._source.now())):
            raise CopyRefused(
                f"A server works on the source, where it holds {held} runs and files: stop it. "
                "What a server held that was killed is free after 15 seconds."
            )

    async def _copy(self, table: Table, progress: _Progress, total: int) -> _Progress:
        if progress.anew:
            progress = await self._target.change(_empty(table, progress))
        self._tell(COPYING, table.name, progress.rows, total)
        async for rows in self._source.batches(table, progress.after):
            came = replace(progress, after=table.key_of(rows[-1]), rows=progress.rows + len(rows))
            progress = await self._target.add(
                table, rows, _expect(table.name, progress), partial(_note, table.name, came)
            )
            self._tell(COPYING, table.name, progress.rows, total)
            await asyncio.sleep(0)  # SQLite waits for nobody, and Ctrl-C is heard only where somebody waits
        return progress

    async def _compare(self, progress: Mapping[str, _Progress]) -> None:
        unlike = []
        async with self._source.snapshot(), self._target.snapshot():
            for table in self._tables:
                there = await self._tally(self._target, table, progress[table.name].rows)
                here = await self._tally(self._source, table, progress[table.name].rows)
                if here.minus(progress[table.name].left_out) != there:
                    unlike.append((table.name, here.rows, there.rows))
        if unlike:
            await self._target.change(_again([(name, progress[name]) for name, _, _ in unlike]))
            counts = ", ".join(
                f"{name} ({here:,} rows in the source, {there:,} in the target)" for name, here, there in unlike
            )
            raise CopyDiffers(
                f"Source and target are not alike in {counts}. If a server works on one of them, stop it; "
                "then begin the same copy again: it makes these tables anew."
            )

    async def _tally(self, side: Side, table: Table, total: int) -> Tally:
        tally = Tally()
        async for rows in side.batches(table, None):
            tally = tally.plus(rows)
            self._tell(CHECKING, table.name, tally.rows, total)
            await asyncio.sleep(0)
        return tally


def _other_schema(side: str, schema: Schema) -> str:
    known = len(MIGRATIONS)
    if schema.version < known:
        return (
            f"The {side} has schema version {schema.version}, and this program's is {known}: "
            "run `understudy db upgrade` on it first."
        )
    return f"The {side} has schema version {schema.version}, which is newer than this program's {known}: use its own."


# --- operations


def _held(now: float) -> Op[int]:
    rows = yield Query(_HELD, (now, now))
    return int(rows[0][0])


def _begin(tables: Sequence[Table], source: str) -> Op[dict[str, _Progress]]:
    """How far each table has come. Raises `CopyRefused` where the target holds rows of anything else."""
    found = {name: _decode(progress) for name, progress in (yield Query(_PROGRESS))}
    if others := {one.source for one in found.values()} - {source}:
        raise CopyRefused(f"The target holds an unfinished copy of {others.pop()}: go on with that, or empty it.")
    new = [table for table in tables if table.name not in found]
    counts = yield from row_counts(table.name for table in new if table.name not in _OF_ANY_START)
    if any(counts.values()):
        held = ", ".join(f"{rows:,} {name}" for name, rows in counts.items() if rows)
        raise CopyRefused(f"The target is not empty: it holds {held}. Name an empty database.")
    for table in new:
        found[table.name] = _Progress(source=source)
        if table.name in _OF_ANY_START:
            yield Query(f"DELETE FROM {table.name}")
        if not (yield Query(_BEGIN, (table.name, _encode(found[table.name])))):
            raise CopyRefused(_ANOTHER)
    return found


def _expect(name: str, progress: _Progress) -> Op[None]:
    if not (yield Query(_NOTED, (name, _encode(progress)), locks=True)):
        raise CopyRefused(_ANOTHER)


def _note(name: str, progress: _Progress, left_out: Sequence[Row]) -> Op[_Progress]:
    if left_out:
        progress = replace(progress, left_out=progress.left_out.plus(left_out))
    yield Query(_NOTE, (_encode(progress), name))
    return progress


def _empty(table: Table, progress: _Progress) -> Op[_Progress]:
    yield Query(f"DELETE FROM {table.name}")
    return (yield from _note(table.name, _Progress(source=progress.source), []))


def _again(unlike: Sequence[tuple[str, _Progress]]) -> Op[None]:
    for name, progress in unlike:
        yield from _note(name, replace(progress, anew=True), [])


def _end() -> Op[None]:
    yield Query(_END)


# --- content


async def content_keys(side: Side) -> AsyncGenerator[str, None]:
    """The keys of the content that rows name. Within a `snapshot`."""
    for table in own_tables():
        # Where it is the key itself, no row names it any more.
        if "blob" in table.columns and table.key != ("blob",):
            place = table.columns.index("blob")
            async for rows in side.batches(table, None):
                for row in rows:
                    yield row[place]
