"""Objects as JSON, one or a page of them, just as they were stored. Paging: contract section 1.3."""
# ruff: noqa: S608 - only constants of this package are put into SQL

from collections.abc import Sequence
from typing import Final

from understudy.core.ids import Kind
from understudy.ports import Missing, PageQuery, Rows, ThreadFilter
from understudy.store.operations import SEQ_MAX, Op, Query, Row
from understudy.store.scope import BODY, CONDITIONS, TABLES, params
from understudy.wire.files import StoredPurpose

# Indexes: assistants_by_project, vector_stores_by_project, messages_by_thread, runs_by_thread, steps_by_run; the order
# is their `seq`.
_PAGE: Final = "SELECT id, body, seq FROM {table} WHERE {condition} AND seq > ? AND seq < ? ORDER BY seq {way} LIMIT ?"
_WAYS: Final = (False, "ASC"), (True, "DESC")
_PAGES: Final[dict[tuple[Kind, bool], str]] = {
    (kind, descending): _PAGE.format(table=TABLES[kind], condition=condition, way=way)
    for kind, condition in CONDITIONS.items()
    if kind not in ("thread", "file")  # these are filtered in ways of their own: `threads`, `files`
    for descending, way in _WAYS
}
# Index: messages_by_run.
_PAGES_OF_RUN: Final[dict[bool, str]] = {
    descending: _PAGE.format(table="messages", condition=f"run_id = ? AND {CONDITIONS['message']}", way=way)
    for descending, way in _WAYS
}
# Indexes: threads_by_project; the keys of thread_assistants and thread_metadata.
_THREADS: Final = (
    "SELECT t.id, t.body, t.seq FROM threads t{joins} "
    "WHERE t.project = ? AND t.seq > ? AND t.seq < ? ORDER BY t.seq {way} LIMIT ?"
)
# Indexes: files_by_project, files_by_purpose. An expired file is none; it is soon swept.
_FILES: Final = (
    "SELECT id, body, seq FROM files WHERE project = ?{purpose} AND (expires_at IS NULL OR expires_at > ?) "
    "AND seq > ? AND seq < ? ORDER BY seq {way} LIMIT ?"
)
# Index: the one that keeps `id` unique.
_CURSOR: Final[dict[Kind, str]] = {
    kind: f"SELECT seq FROM {table} WHERE id = ? AND {CONDITIONS[kind]}" for kind, table in TABLES.items()
}


def body(kind: Kind, project: str, parent_id: str | None, id_: str) -> Op[bytes | None]:
    rows = yield Query(BODY[kind], (id_, *params(project, parent_id)))
    return rows[0][0] if rows else None


def page(kind: Kind, project: str, parent_id: str | None, query: PageQuery, run_id: str | None = None) -> Op[Rows]:
    scope = params(project, parent_id)
    low, high = yield from bounds(kind, scope, query)
    if run_id is None:
        sql = _PAGES[kind, reads_descending(query)]
    else:
        sql, scope = _PAGES_OF_RUN[reads_descending(query)], (run_id, *scope)
    return rows_of(query, (yield Query(sql, (*scope, low, high, query.limit + 1))))


def threads(project: str, query: PageQuery, wanted: ThreadFilter) -> Op[Rows]:
    """Each condition is one more index to look into; the page is read from the one that narrows it most."""
    low, high = yield from bounds("thread", (project,), query)
    joins, filters = "", []
    if wanted.assistant_id is not None:
        joins += " JOIN thread_assistants a ON a.thread_seq = t.seq AND a.assistant_id = ?"
        filters.append(wanted.assistant_id)
    for number, (name, value) in enumerate(wanted.metadata.items()):
        m = f"m{number}"
        joins += f" JOIN thread_metadata {m} ON {m}.thread_seq = t.seq"
        joins += f" AND {m}.project = ? AND {m}.name = ? AND {m}.value = ?"
        filters += [project, name, value]
    sql = _THREADS.format(joins=joins, way="DESC" if reads_descending(query) else "ASC")
    return rows_of(query, (yield Query(sql, (*filters, project, low, high, query.limit + 1))))


def files(project: str, query: PageQuery, purpose: StoredPurpose | None, now: int) -> Op[Rows]:
    low, high = yield from bounds("file", (project,), query)
    filters = (project,) if purpose is None else (project, purpose)
    way = "DESC" if reads_descending(query) else "ASC"
    sql = _FILES.format(purpose="" if purpose is None else " AND purpose = ?", way=way)
    return rows_of(query, (yield Query(sql, (*filters, now, low, high, query.limit + 1))))


def bounds(kind: Kind, scope: tuple[str, ...], query: PageQuery, *, cursor: str | None = None) -> Op[tuple[int, int]]:
    """The page lies strictly between these two places. `cursor` finds an item's where its kind alone does not say how.

    Raises `Missing`.
    """
    sql = cursor or _CURSOR[kind]
    low, high = 0, SEQ_MAX
    if query.after is not None:
        after_seq = yield from _seq(kind, sql, scope, query.after)
        low, high = (low, after_seq) if query.descending else (after_seq, high)
    if query.before is not None:
        before_seq = yield from _seq(kind, sql, scope, query.before)
        low, high = (max(low, before_seq), high) if query.descending else (low, min(high, before_seq))
    return low, high


def _backwards(query: PageQuery) -> bool:
    """With `before` alone the items nearest to it are wanted: read from it backwards, then turn the page round."""
    return query.before is not None and query.after is None


def reads_descending(query: PageQuery) -> bool:
    """Which way the rows are to be read for `rows_of`."""
    return query.descending is not _backwards(query)


def rows_of(query: PageQuery, found: Sequence[Row]) -> Rows:
    """A page of what was found: one row more than its limit tells that there is more. Each begins with id and body."""
    rows = list(found[: query.limit])
    if _backwards(query):
        rows.reverse()
    return Rows(ids=[row[0] for row in rows], bodies=[row[1] for row in rows], has_more=len(found) > query.limit)


def _seq(kind: Kind, sql: str, scope: tuple[str, ...], id_: str) -> Op[int]:
    rows = yield Query(sql, (id_, *scope))
    if not rows:
        raise Missing(kind, id_)
    seq: int = rows[0][0]
    return seq
