"""The measurements, one function each: from a stage to lines of the table."""

import math
import time
from collections.abc import Callable, Collection
from typing import Final

from msgspec import Struct

from bench.cranfield import quality
from bench.files import large_file
from bench.ingest import ingest
from bench.machine import durable_write_ms
from bench.orders import Finish, Hold, Volley
from bench.pgvector import by_pgvector
from bench.processes import Failed, Server, call, litellm, understudy
from bench.sandbox import code
from bench.scale import scale
from bench.search import speed
from bench.stage import Cost, Stage, new_assistant, new_run
from bench.table import Row, median, percentile, row, shown
from bench.threads import add_thread

__all__ = ["FULL", "QUICK", "SECTIONS", "SMOKE", "Sizes", "measure"]

_EVERY: Final = "20ms"
_PACED_STREAMS: Final = 50
_AT_ONCE: Final = 50


SECTIONS: Final = (
    *("single", "concurrent", "paced", "waiting", "threads", "files", "code", "scale", "starts", "search", "ingest"),
    "peers",
)


class Sizes(Struct, frozen=True, kw_only=True):
    """How much is measured. Rounds are turns that each server takes."""

    rounds: int
    single_runs: int  # one after the other, each round
    concurrent_runs: int  # each round
    paced_rounds: int
    paced_tokens: int
    waiting: int
    waiting_reads: int
    starts: int
    ingest_megabytes: int
    thread_rounds: int
    long_thread: int
    search_chunks: tuple[int, ...]  # of each vector store that is searched
    file_mebibytes: int
    code_sessions: int
    scale_rounds: int  # of several processes on PostgreSQL
    peers: bool


FULL: Final = Sizes(
    rounds=10,
    single_runs=50,
    concurrent_runs=500,
    paced_rounds=4,
    paced_tokens=250,
    waiting=1000,
    waiting_reads=300,
    starts=3,
    ingest_megabytes=20,
    thread_rounds=10,
    long_thread=10_000,
    search_chunks=(10_000, 100_000),
    file_mebibytes=512,
    code_sessions=7,
    scale_rounds=5,
    peers=True,
)
QUICK: Final = Sizes(
    rounds=3,
    single_runs=30,
    concurrent_runs=200,
    paced_rounds=1,
    paced_tokens=50,
    waiting=200,
    waiting_reads=100,
    starts=1,
    ingest_megabytes=4,
    thread_rounds=3,
    long_thread=10_000,
    search_chunks=(10_000,),
    file_mebibytes=64,
    code_sessions=3,
    scale_rounds=2,
    peers=False,
)
SMOKE: Final = Sizes(
    rounds=1,
    single_runs=10,
    concurrent_runs=0,
    paced_rounds=0,
    paced_tokens=0,
    waiting=0,
    waiting_reads=0,
    starts=0,
    ingest_megabytes=0,
    thread_rounds=0,
    long_thread=0,
    search_chunks=(),
    file_mebibytes=1,
    code_sessions=0,
    scale_rounds=0,
    peers=False,
)


def measure(stage: Stage, sizes: Sizes, only: Collection[str] = SECTIONS) -> list[Row]:
    """The table, or some sections of it; what has the size 0 is left out."""
    _warm(stage)
    sections: dict[str, tuple[object, Callable[[], list[Row]]]] = {
        "single": (sizes.single_runs, lambda: one_token(stage, sizes)),
        "concurrent": (sizes.concurrent_runs, lambda: concurrent(stage, sizes)),
        "paced": (sizes.paced_rounds, lambda: paced(stage, sizes)),
        "waiting": (sizes.waiting, lambda: waiting(stage, sizes)),
        "threads": (sizes.thread_rounds, lambda: long_threads(stage, sizes)),
        "files": (sizes.file_mebibytes, lambda: large_file(stage, sizes.file_mebibytes)),
        "code": (sizes.code_sessions, lambda: code(stage.directory, sizes.code_sessions)),
        "scale": (sizes.scale_rounds, lambda: several(stage, sizes)),
        "starts": (sizes.starts, lambda: starts(stage, sizes)),
        "search": (sizes.search_chunks, lambda: searches(stage, sizes)),
        "ingest": (sizes.ingest_megabytes, lambda: ingest(stage, sizes.ingest_megabytes)),
        "peers": (sizes.peers, lambda: peers(stage, sizes)),
    }
    assert tuple(sections) == SECTIONS
    return [one for name, (size, section) in sections.items() if size and name in only for one in section()]


def _warm(stage: Stage) -> None:
    stage.durable_ms.append(durable_write_ms(stage.directory))
    stage.obey(stage.chats(stage.proxy, "tokens=1", 20, concurrency=4))
    stage.obey(stage.runs("tokens=1", 20, concurrency=4))


def one_token(stage: Stage, sizes: Sizes) -> list[Row]:
    """One request at a time: the time that Understudy adds, and what it costs."""
    costs = stage.alternate(
        sizes.rounds,
        {
            "proxy": (stage.proxy, stage.chats(stage.proxy, "tokens=1", sizes.single_runs)),
            "understudy": (stage.understudy, stage.runs("tokens=1", sizes.single_runs)),
        },
    )
    ours, proxy = costs["understudy"], costs["proxy"]
    first, first_proxy = median(ours.first_ms), median(proxy.first_ms)
    return [
        row(
            "first token, idle, p50: added to the proxy's",
            first - first_proxy,
            " ms",
            at_most=2,
            understudy=f"{shown(first)} ms",
            proxy=f"{shown(first_proxy)} ms",
        ),
        row(
            "CPU per persisted one-token run, streamed, one at a time",
            ours.cpu_ms_per_request,
            " ms",
            at_most=2,
            understudy=f"{shown(ours.cpu_ms_per_request)} ms",
            proxy=f"{shown(proxy.cpu_ms_per_request)} ms",
        ),
    ]


def concurrent(stage: Stage, sizes: Sizes) -> list[Row]:
    """Many one-token runs at once."""
    count = sizes.concurrent_runs
    costs = stage.alternate(
        sizes.rounds,
        {
            "proxy": (stage.proxy, stage.chats(stage.proxy, "tokens=1", count, concurrency=_AT_ONCE)),
            "understudy": (stage.understudy, stage.runs("tokens=1", count, concurrency=_AT_ONCE)),
        },
    )

    def per_second(cost: Cost) -> float:
        return cost.requests / cost.cpu_seconds

    ours, proxy = costs["understudy"], costs["proxy"]
    return [
        row(
            f"one-token runs per second of CPU, {_AT_ONCE} at once",
            per_second(ours),
            "/s",
            at_least=500,
            understudy=f"{shown(per_second(ours))}/s",
            proxy=f"{shown(per_second(proxy))}/s",
        )
    ]


def paced(stage: Stage, sizes: Sizes) -> list[Row]:
    """Streams as models write them: a token now and then, many streams at once."""
    script = f"tokens={sizes.paced_tokens},every={_EVERY}"
    count = _PACED_STREAMS
    costs = stage.alternate(
        sizes.paced_rounds,
        {
            "proxy": (stage.proxy, stage.chats(stage.proxy, script, count, concurrency=count, spread=0.2)),
            "understudy": (stage.understudy, stage.runs(script, count, concurrency=count, spread=0.2)),
        },
    )
    ours, proxy = costs["understudy"].cpu_us_per_token, costs["proxy"].cpu_us_per_token
    return [
        row(
            f"CPU per streamed token, {_PACED_STREAMS} streams of a token every {_EVERY}",
            ours / proxy,
            "x",
            at_most=1.5,
            understudy=f"{shown(ours)} µs",
            proxy=f"{shown(proxy)} µs",
        )
    ]


def waiting(stage: Stage, sizes: Sizes) -> list[Row]:
    """A server full of streams that wait for their first token: what they weigh, and whether others notice."""
    with understudy(stage.model, stage.directory / "waiting") as server:
        assistant_id = new_assistant(server)
        stage.obey(stage.runs("tokens=1", 100, server=server, assistant_id=assistant_id, concurrency=10))
        half = sizes.waiting // 2
        held = Hold(stage.runs("tokens=1,first=held", half, server=server, assistant_id=assistant_id))
        before = server.resident_bytes()
        stage.obey(held)
        rows = _beside(stage, sizes, server, assistant_id)
        stage.obey(held)
        each_mb = (server.resident_bytes() - before) / (2 * half) / 1e6
        at_model = int(call(stage.model.port, "GET", "/held")[1])
        call(stage.model.port, "POST", "/release")
        stage.obey(Finish())
    what = f"memory per stream, {2 * half} that wait for a first token ({at_model} of them at the model server)"
    return [row(what, each_mb, " MB", at_most=0.1), *rows]


def _beside(stage: Stage, sizes: Sizes, server: Server, assistant_id: str) -> list[Row]:
    """What other requests meet while the streams wait."""
    count, beside = sizes.waiting_reads, f"beside {sizes.waiting // 2} waiting streams, p95"
    models = stage.obey(stage.reads(server, "/v1/models", count))
    fast = stage.runs("tokens=1", count, server=server, assistant_id=assistant_id, seconds_max=20)
    thread_id, run_id = new_run(server, assistant_id)
    reads = stage.obey(stage.reads(server, f"/v1/threads/{thread_id}/runs/{run_id}", count))
    return [
        row(f"GET /v1/models {beside}", percentile(models.whole_ms, 95), " ms", at_most=50),
        row(f"first token of a fast stream {beside}", _p95_first_ms(stage, fast), " ms", at_most=50),
        row(f"GET of a run, kept-alive, {beside}", percentile(reads.whole_ms, 95), " ms", at_most=5),
    ]


def _p95_first_ms(stage: Stage, volley: Volley) -> float:
    """Infinite when they are not even answered."""
    try:
        return percentile(stage.obey(volley).first_ms, 95)
    except Failed:
        return math.inf


def long_threads(stage: Stage, sizes: Sizes) -> list[Row]:
    """Runs that show the model the last ten messages, on a short thread and on a long one."""
    database = stage.directory / "understudy" / "understudy.db"
    short_id, long_id = add_thread(database, 10), add_thread(database, sizes.long_thread)

    ten = {"type": "last_messages", "last_messages": 10}
    turns = {
        one: (stage.understudy, stage.runs("tokens=1", 10, thread_id=one, truncation_strategy=ten))
        for one in (short_id, long_id)
    }
    costs = stage.alternate(sizes.thread_rounds, turns)
    short, long = costs[short_id].cpu_ms_per_request, costs[long_id].cpu_ms_per_request
    figures = f"{shown(short)} ms and {shown(long)} ms"
    whole = stage.alternate(1, {"": (stage.understudy, stage.runs("tokens=1", 3, thread_id=long_id))})[""]
    what = f"CPU per run on a thread of {sizes.long_thread:,} messages"
    return [
        row(f"{what}, over that on one of 10, the last 10 shown", long / short, "x", at_most=1.25, understudy=figures),
        row(f"{what}, as many of them shown as fit a window of 128,000 tokens", whole.cpu_ms_per_request, " ms"),
    ]


def several(stage: Stage, sizes: Sizes) -> list[Row]:
    """Processes that share PostgreSQL and Redis."""
    return scale(stage, sizes.scale_rounds, sizes.single_runs, sizes.concurrent_runs, sizes.paced_tokens)


def searches(stage: Stage, sizes: Sizes) -> list[Row]:
    """How well search finds, and how fast."""
    return [
        *quality(slow=sizes.peers),
        *(one for chunks in sizes.search_chunks for one in speed(stage.directory, chunks)),
        *(one for chunks in sizes.search_chunks for one in by_pgvector(chunks)),
    ]


def starts(stage: Stage, sizes: Sizes) -> list[Row]:
    """From the command to the first answered request, on the database that was filled above."""
    seconds, cpu = [], []
    for _ in range(sizes.starts):
        began = time.monotonic()
        with understudy(stage.model, stage.directory / "waiting") as server:
            seconds.append(time.monotonic() - began)
            cpu.append(server.cpu_seconds())
    what = f"start to first answered request, best of {sizes.starts}"
    return [row(what, min(seconds), " s", at_most=1, understudy=f"{shown(min(cpu))} s of CPU")]


def peers(stage: Stage, sizes: Sizes) -> list[Row]:
    """LiteLLM's proxy, which stores nothing, where it is installed."""
    what = "CPU per persisted one-token run, over that of a request passed through by LiteLLM's proxy"
    try:
        with litellm(stage.model, "tokens=1", stage.directory / "litellm") as server:
            if server is None:
                return [Row(what=f"{what}: left out, it is not installed")]
            stage.obey(stage.chats(server, "tokens=1", sizes.single_runs))
            return [
                _beside_litellm(stage, server, f"{what}, one at a time", sizes.single_runs, 1),
                _beside_litellm(stage, server, f"{what}, {_AT_ONCE} at once", 4 * _AT_ONCE, _AT_ONCE),
            ]
    except Failed as failure:
        return [Row(what=f"{what}: left out, {str(failure).splitlines()[0]}")]


def _beside_litellm(stage: Stage, server: Server, what: str, count: int, concurrency: int) -> Row:
    costs = stage.alternate(
        3,
        {
            "litellm": (server, stage.chats(server, "tokens=1", count, concurrency=concurrency)),
            "understudy": (stage.understudy, stage.runs("tokens=1", count, concurrency=concurrency)),
        },
    )
    ours, theirs = costs["understudy"].cpu_ms_per_request, costs["litellm"].cpu_ms_per_request
    figures = f"{shown(ours)} ms, LiteLLM {shown(theirs)} ms"
    return row(what, ours / theirs, "x", at_most=0.1, understudy=figures)
