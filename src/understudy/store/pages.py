"""Objects as JSON, one or a page of them, just as they were stored. Paging: contract section 1.3."""
# ruff: noqa: S608 - only constants of this package are put into SQL

from typing import Final

from understudy.core.ids import Kind
from understudy.ports import Missing, PageQuery, Rows
from understudy.store.operations import SEQ_MAX, Op, Query
from understudy.store.scope import BODY, CONDITIONS, TABLES, params

# Indexes: assistants_by_project, messages_by_thread, runs_by_thread, steps_by_run; the order is their `seq`.
_PAGE: Final = "SELECT id, body, seq FROM {table} WHERE {condition} AND seq > ? AND seq < ? ORDER BY seq {way} LIMIT ?"
_WAYS: Final = (False, "ASC"), (True, "DESC")
_PAGES: Final[dict[tuple[Kind, bool], str]] = {
    (kind, descending): _PAGE.format(table=TABLES[kind], condition=condition, way=way)
    for kind, condition in CONDITIONS.items()
    if kind != "thread"  # threads have no list
    for descending, way in _WAYS
}
# Index: messages_by_run.
_PAGES_OF_RUN: Final[dict[bool, str]] = {
    descending: _PAGE.format(table="messages", condition=f"run_id = ? AND {CONDITIONS['message']}", way=way)
    for descending, way in _WAYS
}
# Index: the one that keeps `id` unique.
_CURSOR: Final[dict[Kind, str]] = {
    kind: f"SELECT seq FROM {table} WHERE id = ? AND {CONDITIONS[kind]}" for kind, table in TABLES.items()
}


def body(kind: Kind, project: str, parent_id: str | None, id_: str) -> Op[bytes | None]:
    rows = yield Query(BODY[kind], (id_, *params(project, parent_id)))
    return rows[0][0] if rows else None


def page(kind: Kind, project: str, parent_id: str | None, query: PageQuery, run_id: str | None = None) -> Op[Rows]:
    scope = params(project, parent_id)
    low, high = 0, SEQ_MAX
    if query.after is not None:
        after_seq = yield from _seq(kind, scope, query.after)
        low, high = (low, after_seq) if query.descending else (after_seq, high)
    if query.before is not None:
        before_seq = yield from _seq(kind, scope, query.before)
        low, high = (max(low, before_seq), high) if query.descending else (low, min(high, before_seq))
    # With `before` alone the items nearest to it are wanted: read from it backwards, then turn the page round.
    backwards = query.before is not None and query.after is None
    descending = query.descending is not backwards
    if run_id is None:
        sql = _PAGES[kind, descending]
    else:
        sql, scope = _PAGES_OF_RUN[descending], (run_id, *scope)
    rows = list((yield Query(sql, (*scope, low, high, query.limit + 1))))
    has_more = len(rows) > query.limit
    del rows[query.limit :]
    if backwards:
        rows.reverse()
    return Rows(ids=[row[0] for row in rows], bodies=[row[1] for row in rows], has_more=has_more)


def _seq(kind: Kind, scope: tuple[str, ...], cursor: str) -> Op[int]:
    rows = yield Query(_CURSOR[kind], (cursor, *scope))
    if not rows:
        raise Missing(kind, cursor)
    seq: int = rows[0][0]
    return seq
