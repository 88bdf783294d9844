"""Several processes on PostgreSQL and Redis: what a run costs, what a second node adds, what crosses between two."""

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
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
    """Two that answer and work, and one that only answers, all of them on one database."""

    stage: Stage
    database: Postgres
    one: Server
    two: Server
    front: Server
    assistant_id: str

    def runs(self, server: Server, script: str, count: int, *, concurrency: int = 1, spread: float = 0.0) -> Volley:
        return self.stage.runs(
            script, count, server=server, assistant_id=self.assistant_id, concurrency=concurrency, spread=spread
        )

    def take_turns(self, rounds: int, *turns: tuple[Order, Sequence[Server]]) -> list[_Cost]:
        """What each order took, of its servers; whatever else the machine does meets all of them."""
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
        for server in (nodes.one, nodes.two, nodes.front):
            stage.obey(nodes.runs(server, "tokens=1", 4 * _AT_ONCE, concurrency=_AT_ONCE))
        rows = _one_at_a_time(nodes, rounds, single_runs)
        rows += _at_once(nodes, rounds, concurrent_runs)
        rows += _two_nodes(nodes, rounds, concurrent_runs)
        rows += _between_nodes(nodes, max(1, rounds // 5), paced_tokens)
        return rows


def _open(opened: ExitStack, stage: Stage, database: Postgres, link: Engine) -> _Nodes:
    shared = {"database_url": database.url, "redis_url": link.url}

    def node(name: str, **more: str) -> Server:
        return opened.enter_context(understudy(stage.model, stage.directory / name, **shared, **more))

    one, two, front = node("one"), node("two"), node("front", worker="false")
    return _Nodes(stage=stage, database=database, one=one, two=two, front=front, assistant_id=new_assistant(one))


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
        row("on PostgreSQL: connections of three processes after that", connections, "", at_most=27),
    ]


def _two_nodes(nodes: _Nodes, rounds: int, count: int) -> list[Row]:
    pair = (nodes.one, nodes.two)
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

    # All nodes are counted both times: any that works may take a run, and each hears what is said to all.
    everyone = [nodes.one, nodes.two, nodes.front]
    here, there = nodes.take_turns(rounds, (streams(nodes.one), everyone), (streams(nodes.front), everyone))
    what = f"{_STREAMS} streams of a token every {_EVERY}"
    return [
        row(f"on PostgreSQL: CPU per streamed token, read where it is worked on, {what}", here.us_per_token, " µs"),
        row(
            f"events between nodes: CPU per token of all nodes, read at another node than worked on: added, {what}",
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
