"""Several processes on PostgreSQL and Redis: what a run costs, what a second node adds, what crosses between two."""

import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Final

from msgspec import Struct

from bench.engines import Engine, Postgres, postgres, redis
from bench.machine import durable_write_ms
from bench.orders import Order, Together, Volley
from bench.processes import Server, understudy
from bench.stage import SETTLE_SECONDS, Stage, new_assistant
from bench.table import Row, median, row, shown

__all__ = ["scale"]

_AT_ONCE: Final = 50
_STREAMS: Final = 50
_EVERY: Final = "20ms"
_SPREAD_SECONDS: Final = 0.2
# Two nodes, and as much again for PostgreSQL, the model server and the load client.
_CORES_TO_SPARE: Final = 6
_SIZE: Final = (
    "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind = 'r' AND n.nspname = 'public'"
)
_CONNECTIONS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


class _Cost(Struct, kw_only=True):
    """What orders took of the servers that are counted, and of PostgreSQL beside them."""

    cpu_seconds: float = 0.0
    postgres_seconds: float = 0.0
    seconds: float = 0.0  # on the wall
    requests: int = 0
    tokens: int = 0
    first_ms: list[float]

    @property
    def ms_each(self) -> float:
        return 1000 * self.cpu_seconds / self.requests

    @property
    def postgres_ms_each(self) -> float:
        return 1000 * self.postgres_seconds / self.requests

    @property
    def us_per_token(self) -> float:
        return 1e6 * self.cpu_seconds / self.tokens


class _Nodes(Struct, frozen=True, kw_only=True):
    """One that answers and works, and one that only answers, on one database."""

    stage: Stage
    database: Postgres
    link: Engine
    one: Server
    front: Server
    assistant_id: str

    def runs(self, server: Server, script: str, count: int, *, concurrency: int = 1, spread: float = 0.0) -> Volley:
        return self.stage.runs(
            script, count, server=server, assistant_id=self.assistant_id, concurrency=concurrency, spread=spread
        )

    def warm(self, server: Server) -> None:
        """Its connections are open then, and their statements prepared."""
        self.stage.obey(self.runs(server, "tokens=1", 4 * _AT_ONCE, concurrency=_AT_ONCE))

    def take_turns(self, rounds: int, *turns: tuple[Order, Sequence[Server]]) -> list[_Cost]:
        """What each order took of its servers; whatever else the machine does meets all of them."""
        costs = [_Cost(first_ms=[]) for _ in turns]
        for _ in range(rounds):
            self.stage.durable_ms.append(durable_write_ms(self.stage.directory))
            for cost, (order, counted) in zip(costs, turns, strict=True):
                before, before_postgres = _seconds(counted), self.database.cpu_seconds()
                outcome = self.stage.obey(order)
                time.sleep(SETTLE_SECONDS)
                cost.cpu_seconds += _seconds(counted) - before
                cost.postgres_seconds += self.database.cpu_seconds() - before_postgres
                cost.seconds += outcome.seconds
                cost.requests += len(outcome.first_ms)
                cost.tokens += outcome.tokens
                cost.first_ms += outcome.first_ms
        return costs


def scale(stage: Stage, rounds: int, single_runs: int, concurrent_runs: int, paced_tokens: int) -> list[Row]:
    """`rounds` turns of that many runs, one at a time and at once; streams of that many tokens."""
    with ExitStack() as opened:
        database = opened.enter_context(postgres())
        link = opened.enter_context(redis())
        if database is None or link is None:
            missing = "postgresql" if database is None else "redis-server"
            return [Row(what=f"several processes on PostgreSQL and Redis: left out, {missing} is not installed")]
        nodes = _open(opened, stage, database, link)
        for server in (nodes.one, nodes.front):
            nodes.warm(server)
        rows = _one_at_a_time(nodes, rounds, single_runs)
        rows += _at_once(nodes, rounds, concurrent_runs)
        rows += _two_nodes(nodes, rounds, concurrent_runs)
        rows += _between_nodes(nodes, max(1, rounds // 2), paced_tokens)
        return rows


def _open(opened: ExitStack, stage: Stage, database: Postgres, link: Engine) -> _Nodes:
    one = opened.enter_context(_node(stage, database, link))
    front = opened.enter_context(_node(stage, database, link, worker="false"))
    assistant_id = new_assistant(one)
    return _Nodes(stage=stage, database=database, link=link, one=one, front=front, assistant_id=assistant_id)


def _node(stage: Stage, database: Postgres, link: Engine, **more: str) -> AbstractContextManager[Server]:
    shared = {"database_url": database.url, "redis_url": link.url}
    return understudy(stage.model, stage.directory / "nodes", **shared, **more)


def _one_at_a_time(nodes: _Nodes, rounds: int, count: int) -> list[Row]:
    stage = nodes.stage
    proxy, ours = nodes.take_turns(
        rounds,
        (stage.chats(stage.proxy, "tokens=1", count), [stage.proxy]),
        (nodes.runs(nodes.one, "tokens=1", count), [nodes.one]),
    )
    first, first_proxy = median(ours.first_ms), median(proxy.first_ms)
    return [
        row(
            "on PostgreSQL: first token, idle, p50: added to the proxy's",
            first - first_proxy,
            " ms",
            at_most=6,
            understudy=f"{shown(first)} ms",
            proxy=f"{shown(first_proxy)} ms",
        ),
        row(
            "on PostgreSQL: CPU per persisted one-token run, streamed, one at a time",
            ours.ms_each,
            " ms",
            understudy=_beside(ours),
            proxy=f"{shown(proxy.ms_each)} ms",
        ),
    ]


def _at_once(nodes: _Nodes, rounds: int, count: int) -> list[Row]:
    before = nodes.database.figure(_SIZE)
    (cost,) = nodes.take_turns(rounds, (nodes.runs(nodes.one, "tokens=1", count, concurrency=_AT_ONCE), [nodes.one]))
    connections = nodes.database.figure(_CONNECTIONS)
    grown = (nodes.database.figure(_SIZE) - before) / cost.requests
    return [
        row(
            f"on PostgreSQL: one-token runs per second of CPU, {_AT_ONCE} at once",
            cost.requests / cost.cpu_seconds,
            "/s",
            at_least=300,
            understudy=_beside(cost),
        ),
        row("on PostgreSQL: the database's growth with a one-token run on a new thread", grown / 1e3, " kB"),
        row("on PostgreSQL: connections of two processes after that", connections, "", at_most=18),
    ]


def _two_nodes(nodes: _Nodes, rounds: int, count: int) -> list[Row]:
    with _node(nodes.stage, nodes.database, nodes.link) as two:
        nodes.warm(two)
        pair = (nodes.one, two)
        both = Together([nodes.runs(one, "tokens=1", count // 2, concurrency=_AT_ONCE // 2) for one in pair])
        alone, shared = nodes.take_turns(
            rounds,
            (nodes.runs(nodes.one, "tokens=1", count, concurrency=_AT_ONCE), [nodes.one]),
            (both, pair),
        )
    cores = os.cpu_count() or 1
    spare = cores >= _CORES_TO_SPARE
    rates = [one.requests / one.seconds for one in (alone, shared)]
    busy = [(one.cpu_seconds + one.postgres_seconds) / one.seconds for one in (alone, shared)]
    return [
        row(
            f"on PostgreSQL: runs per second on the wall, two nodes over one, {_AT_ONCE} at once, on {cores} cores"
            + ("" if spare else ", which PostgreSQL, the model server and the load client share: none to spare"),
            rates[1] / rates[0],
            "x",
            at_least=1.6 if spare else None,
            understudy=f"{shown(rates[1])}/s and {shown(rates[0])}/s, "
            f"with {shown(busy[1])} and {shown(busy[0])} cores of Understudy's and PostgreSQL's",
        ),
        row(
            "on PostgreSQL: CPU per run, two nodes over one",
            shared.ms_each / alone.ms_each,
            "x",
            understudy=f"{_beside(shared)}; alone {_beside(alone)}",
        ),
    ]


def _between_nodes(nodes: _Nodes, rounds: int, tokens: int) -> list[Row]:
    script = f"tokens={tokens},every={_EVERY}"

    def streams(server: Server) -> Order:
        return nodes.runs(server, script, _STREAMS, concurrency=_STREAMS, spread=_SPREAD_SECONDS)

    both = [nodes.one, nodes.front]
    here, there = nodes.take_turns(rounds, (streams(nodes.one), both), (streams(nodes.front), both))
    what = f"{_STREAMS} streams of a token every {_EVERY}"
    return [
        row(f"on PostgreSQL: CPU per streamed token, read where it is worked on, {what}", here.us_per_token, " µs"),
        row(
            f"events between nodes: CPU per token of both, read at the one and worked on at the other: added, {what}",
            there.us_per_token - here.us_per_token,
            " µs",
            at_most=60,
            understudy=f"{shown(there.us_per_token)} µs in all",
        ),
    ]


def _seconds(servers: Sequence[Server]) -> float:
    return sum(server.cpu_seconds() for server in servers)


def _beside(cost: _Cost) -> str:
    return f"{shown(cost.ms_each)} ms, and {shown(cost.postgres_ms_each)} ms of PostgreSQL's"
