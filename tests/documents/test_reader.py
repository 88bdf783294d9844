"""The reading children from outside: their limits, their ends, and what is believed of them."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from support.document_files import pdf, pdf_of
from support.hostile_files import inflating
from support.local import until
from support.weights import write_static_weights
from understudy.documents.messages import Finished, Read, Refused, frame
from understudy.documents.reader import LIMITS, ChildDocuments
from understudy.ports import Chunk, DocumentRefused
from understudy.retrieval.static import DIMENSIONS, StaticModel
from understudy.retrieval.terms import term_counts
from understudy.wire.tools import StaticChunkingOptions

CHUNKING = StaticChunkingOptions(max_chunk_size_tokens=100, chunk_overlap_tokens=50)
WORDS = "The quick brown fox jumps over the lazy dog. "
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's limits are Linux's")

OTHERS: set[int] = set()  # servers that other modules keep running


@pytest.fixture(autouse=True)
def others() -> None:
    OTHERS.clear()
    OTHERS.update(_listed())


@asynccontextmanager
async def reading(directory: Path, **options: object) -> AsyncIterator[ChildDocuments]:
    documents = ChildDocuments(**{"places": 2, "weights": directory / "weights"} | options)
    try:
        yield documents
    finally:
        await documents.close()


def file(directory: Path, content: str | bytes = WORDS) -> Path:
    path = directory / "content"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


async def read(documents: ChildDocuments, path: Path, *, embed: bool = False) -> list[Chunk]:
    return [one async for chunks in documents.chunks(path, "a.txt", "", CHUNKING, embed=embed) for one in chunks]


async def refusal(documents: ChildDocuments, path: Path) -> tuple[str, str]:
    with pytest.raises(DocumentRefused) as caught:
        await read(documents, path)
    return caught.value.code, caught.value.message


def saying(*answers: bytes, then: str = "") -> Sequence[str]:
    """The command of a child that answers its first order with these bytes, whatever it is."""
    script = f"import os, sys, time; os.read(0, 1); os.write(1, {b''.join(answers)!r}); {then}"
    return (sys.executable, "-I", "-c", script)


def chunk(**fields: object) -> Chunk:
    return replace(Chunk(number=0, text="Hello", tokens=2, terms=term_counts("Hello")), **fields)


# --- chunks


async def test_chunks_are_numbered_and_counted_as_their_texts_are(tmp_path: Path) -> None:
    async with reading(tmp_path) as documents:
        chunks = await read(documents, file(tmp_path, WORDS * 100))
    assert [one.number for one in chunks] == list(range(len(chunks)))
    assert all(one.terms == term_counts(one.text) and 0 < one.tokens <= 100 and one.vector is None for one in chunks)
    assert chunks[0].text.startswith("The quick")
    assert chunks[-1].text.endswith("lazy dog. ")


async def test_vectors_are_those_of_the_built_in_embedding(tmp_path: Path) -> None:
    model = StaticModel.load(write_static_weights(tmp_path / "weights"))
    async with reading(tmp_path) as documents:
        (only,) = await read(documents, file(tmp_path, "the red cat"), embed=True)
    assert only.vector == model.embed(["the red cat"])[0]
    assert len(only.vector) == 2 * DIMENSIONS


async def test_missing_weights_are_the_servers_fault(tmp_path: Path) -> None:
    async with reading(tmp_path) as documents:
        with pytest.raises(DocumentRefused) as caught:
            await read(documents, file(tmp_path), embed=True)
        assert caught.value.code == "server_error"
        assert len(await read(documents, file(tmp_path))) == 1


async def test_a_chunk_says_on_which_page_it_begins(tmp_path: Path) -> None:
    async with reading(tmp_path) as documents:
        chunks = await read(documents, file(tmp_path, pdf(["\n".join([WORDS] * 9)] * 3)))
    assert [one.page for one in chunks] == sorted(one.page or 0 for one in chunks)
    assert {one.page for one in chunks} == {1, 2, 3}


async def test_many_files_share_the_places(tmp_path: Path) -> None:
    async with reading(tmp_path, places=2) as documents:
        path = file(tmp_path, WORDS * 100)
        found = await asyncio.gather(*(read(documents, path) for _ in range(6)))
        assert len(children()) <= 2
    assert all(chunks == found[0] for chunks in found)


# --- limits


@linux
async def test_a_file_that_takes_too_much_memory_ends_in_a_sentence(tmp_path: Path) -> None:
    path = file(tmp_path, pdf_of([inflating(b" ", 300)]))
    async with reading(tmp_path, limits=replace(LIMITS, memory_bytes=400 * 2**20)) as documents:
        code, message = await refusal(documents, path)
        assert (code, "memory" in message) == ("invalid_file", True)
        assert len(await read(documents, file(tmp_path))) == 1


@linux
async def test_a_file_that_takes_too_much_computing_ends_in_a_sentence(tmp_path: Path) -> None:
    path = file(tmp_path, os.urandom(40_000).hex() * 400)
    async with reading(tmp_path, limits=replace(LIMITS, cpu_seconds=1)) as documents:
        assert await refusal(documents, path) == (
            "invalid_file",
            "The file could not be parsed within 1 seconds of computing.",
        )
        assert len(await read(documents, file(tmp_path))) == 1


async def test_a_child_that_says_nothing_is_ended_after_its_time(tmp_path: Path) -> None:
    command = (sys.executable, "-I", "-c", "import time; time.sleep(60)")
    async with reading(tmp_path, command=command, seconds=0.2) as documents:
        code, message = await refusal(documents, file(tmp_path))
        assert (code, message) == ("invalid_file", "The file could not be parsed within 0.2 seconds.")
        assert children() == []


async def test_time_that_the_reader_takes_does_not_count_against_the_file(tmp_path: Path) -> None:
    async with reading(tmp_path, seconds=1.5) as documents:
        batches = documents.chunks(file(tmp_path, WORDS * 4000), "a.txt", "", CHUNKING, embed=False)
        await anext(batches)
        await asyncio.sleep(1.6)
        assert len([chunks async for chunks in batches]) > 1


async def test_too_much_text_is_refused_though_it_comes_in_pieces(tmp_path: Path) -> None:
    async with reading(tmp_path, limits=replace(LIMITS, text_bytes=10_000)) as documents:
        assert (await refusal(documents, file(tmp_path, WORDS * 1000)))[0] == "invalid_file"


# --- ends


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM])
async def test_a_child_that_is_killed_from_outside_is_not_the_files_fault(tmp_path: Path, ended_by: int) -> None:
    async with reading(tmp_path) as documents:
        batches = documents.chunks(file(tmp_path, WORDS * 40_000), "a.txt", "", CHUNKING, embed=False)
        await anext(batches)
        (pid,) = children()
        os.killpg(pid, ended_by)
        with pytest.raises(DocumentRefused) as caught:
            async for _ in batches:
                pass
        assert caught.value.code == "server_error"
        assert len(await read(documents, file(tmp_path))) == 1


async def test_a_file_that_is_not_read_to_its_end_takes_its_child_with_it(tmp_path: Path) -> None:
    async with reading(tmp_path) as documents:
        batches = documents.chunks(file(tmp_path, WORDS * 40_000), "a.txt", "", CHUNKING, embed=False)
        await anext(batches)
        await batches.aclose()
        assert children() == []


@linux
async def test_a_child_that_has_nothing_to_do_ends_after_a_while(tmp_path: Path) -> None:
    async with reading(tmp_path, idle_seconds=0.1) as documents:
        await read(documents, file(tmp_path))
        await until(lambda: children() == [])


@linux
async def test_a_child_that_dies_between_two_files_is_replaced(tmp_path: Path) -> None:
    async with reading(tmp_path) as documents:
        await read(documents, file(tmp_path))
        (pid,) = children()
        os.kill(pid, signal.SIGKILL)
        await until(lambda: children() == [])
        assert len(await read(documents, file(tmp_path))) == 1


# --- what is not believed


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no length"),
        pytest.param(b"\xff\xff\xff\xff", id="a length beyond all limits"),
        pytest.param(b"\0\0\0\x04abcd", id="no msgpack"),
        pytest.param(b"\0\0\0\x01\xc0", id="nothing"),
        pytest.param(frame(Read([chunk(number=1)])), id="a number left out"),
        pytest.param(frame(Read([chunk(), chunk()])), id="a number again"),
        pytest.param(frame(Read([chunk(tokens=101)])), id="more tokens than asked for"),
        pytest.param(frame(Read([chunk(tokens=0)])), id="no tokens"),
        pytest.param(frame(Read([chunk(text="a" * 1000)])), id="a text longer than its tokens"),
        pytest.param(frame(Read([chunk(text="")])), id="no text"),
        pytest.param(frame(Read([chunk(text="a\0b")])), id="a null character"),
        pytest.param(frame(Read([chunk(page=0)])), id="no page"),
        pytest.param(frame(Read([chunk(terms=b"12345")])), id="no terms"),
        pytest.param(frame(Read([chunk(vector=bytes(512))])), id="a vector that nobody wanted"),
        pytest.param(frame(Read([chunk()])) + frame(Finished(2)), id="a wrong count"),
        pytest.param(frame(Refused("invalid_file", "")), id="no reason"),
        pytest.param(frame(Refused("invalid_file", "a" * 10_000)), id="a long reason"),
        pytest.param(frame(Refused("invalid_file", "\x1b[31m")), id="a reason that no terminal should show"),
    ],
)
async def test_what_a_child_may_not_say_is_not_believed(tmp_path: Path, answer: bytes) -> None:
    async with reading(tmp_path, command=saying(answer, then="time.sleep(60)")) as documents:
        assert (await refusal(documents, file(tmp_path)))[0] == "server_error"
        assert children() == []


FLOOD = """
import os, msgspec
number = 0
while True:
    chunk["number"] = number
    body = msgspec.msgpack.encode({"type": "Read", "chunks": [chunk]})
    os.write(1, len(body).to_bytes(4, "big") + body)
    number += 1
"""


async def test_a_flood_of_chunks_ends_with_more_than_the_file_may_hold(tmp_path: Path) -> None:
    fields = msgspec.to_builtins(chunk(text="word " * 90, tokens=90), builtin_types=(bytes,))
    command = (sys.executable, "-c", f"chunk = {fields!r}\n{FLOOD}")
    async with reading(tmp_path, command=command, limits=replace(LIMITS, text_bytes=100_000)) as documents:
        assert (await refusal(documents, file(tmp_path)))[0] == "server_error"
        assert children() == []


async def test_half_an_answer_is_none(tmp_path: Path) -> None:
    async with reading(tmp_path, command=saying(frame(Read([chunk()]))[:-1])) as documents:
        assert (await refusal(documents, file(tmp_path)))[0] == "server_error"


async def test_an_end_without_an_answer_is_none(tmp_path: Path) -> None:
    async with reading(tmp_path, command=(sys.executable, "-I", "-c", "")) as documents:
        assert (await refusal(documents, file(tmp_path)))[0] == "server_error"


@linux
async def test_a_child_knows_nothing_of_the_servers_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_API_KEY", "sk-secret")
    async with reading(tmp_path) as documents:
        await read(documents, file(tmp_path))
        environment, files, filtered = seen(*children())
    assert b"sk-secret" not in environment
    assert files <= {"0", "1", "2", "3"}  # the last one is where its answers go
    assert filtered


def children() -> list[int]:
    """The processes that the test has started itself and that still run."""
    return [pid for pid in _listed() if pid not in OTHERS]


def _listed() -> list[int]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split() if sys.platform == "linux" else []
    return [int(pid) for pid in listed]


def seen(pid: int) -> tuple[bytes, set[str], bool]:
    """A process's environment, its open files, and whether its system calls are filtered."""
    process = Path(f"/proc/{pid}")
    files = {place.name for place in (process / "fd").iterdir()}
    return (process / "environ").read_bytes(), files, "Seccomp:\t2" in (process / "status").read_text()
