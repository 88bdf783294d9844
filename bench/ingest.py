"""Indexing text: what it costs from the upload to the last chunk, and how long a client waits for it."""

import http.client
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, Final

from splintr import Tokenizer

from bench.processes import KEY, Failed, Server, understudy
from bench.stage import Stage
from bench.table import Row, row, shown
from understudy.retrieval.static import TOKENIZER_FILE, VECTORS_FILE

__all__ = ["ingest"]

_WEIGHTS_ENV: Final = "UNDERSTUDY_TEST_WEIGHTS"
_WEIGHTS: Final = Path(__file__).parents[1] / "data" / "weights"
_FILES: Final = 2  # as many as are indexed at the same time
_LOOK_SECONDS: Final = 0.01
_SECONDS_MAX: Final = 300.0
_MEGABYTE: Final = 1_000_000


def ingest(stage: Stage, megabytes: int) -> list[Row]:
    """A text of that many megabytes, in two files, with vectors of the built-in embedding if its weights are here."""
    directory = stage.directory / "ingest"
    directory.mkdir()
    embeds = _place_weights(directory / "weights")
    text = _text(megabytes * _MEGABYTE)
    half = len(text) // _FILES
    with understudy(stage.model, directory) as server:
        first = _seconds(server, [text[:_MEGABYTE]])
        again = _seconds(server, [text[-_MEGABYTE:]])
        seconds = _seconds(server, [text[half * number : half * (number + 1)] for number in range(_FILES)])
    bare = _tokenised_per_second(text)
    per_second = len(text) / _MEGABYTE / seconds
    how = "with the built-in embedding" if embeds else f"without vectors: no weights in {_WEIGHTS.name}/"
    return [
        row(
            f"text indexed at 800/400, {_FILES} files of {half / _MEGABYTE:.0f} MB at once, {how}",
            per_second,
            " MB/s",
            at_least=2,
            understudy=f"{shown(bare / per_second)}x the time of tokenising it ({shown(bare)} MB/s)",
        ),
        row("upload to completed, 1 MB of text, no reading process running", first, " s", at_most=2),
        row("upload to completed, 1 MB of text", again, " s", at_most=2),
    ]


def _place_weights(directory: Path) -> bool:
    """Whether the built-in embedding can be measured: nothing is fetched for it."""
    found = Path(os.environ.get(_WEIGHTS_ENV) or _WEIGHTS)
    names = (VECTORS_FILE, TOKENIZER_FILE)
    if not all((found / name).is_file() for name in names):
        return False
    directory.mkdir()
    for name in names:
        shutil.copy(found / name, directory / name)
    return True


def _text(length: int) -> str:
    """English of this repository: pages and sources, over and over, each time with words of its own."""
    root = Path(__file__).parents[1]
    paths = sorted([*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("src/**/*.py")])
    sources = [path.read_text("utf-8") for path in paths]
    written: list[str] = []
    size = number = 0
    while size < length:
        page = f"Page {number}, {number * 7919 % 10_007:x}\n\n{sources[number % len(sources)]}\n\n"
        written.append(page)
        size += len(page)
        number += 1
    return "".join(written)[:length].encode("ascii", "replace").decode()


def _seconds(server: Server, texts: list[str]) -> float:
    """From the first byte sent to the last file's `completed`."""
    began = time.monotonic()
    file_ids = [_upload(server, text) for text in texts]
    store = _asked(server, "POST", "/v1/vector_stores", json.dumps({"file_ids": file_ids}).encode())
    while time.monotonic() - began < _SECONDS_MAX:
        counts = _asked(server, "GET", f"/v1/vector_stores/{store['id']}")["file_counts"]
        if counts["completed"] == len(texts):
            return time.monotonic() - began
        if counts["failed"]:
            raise Failed("A text could not be indexed.")
        time.sleep(_LOOK_SECONDS)  # the wire offers nothing to wait on
    raise Failed("A text was not indexed in time.")


def _upload(server: Server, text: str) -> str:
    edge = "----understudy-bench"
    head = "Content-Disposition: form-data; name="
    body = (
        f'--{edge}\r\n{head}"purpose"\r\n\r\nassistants\r\n'
        f'--{edge}\r\n{head}"file"; filename="text.txt"\r\nContent-Type: text/plain\r\n\r\n{text}\r\n--{edge}--\r\n'
    )
    return str(_asked(server, "POST", "/v1/files", body.encode(), f"multipart/form-data; boundary={edge}")["id"])


def _asked(
    server: Server, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
) -> dict[str, Any]:
    """An answer's body. Raises `Failed` unless it is 200."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_SECONDS_MAX)
    try:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": content_type, "OpenAI-Beta": "assistants=v2"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise Failed(f"{method} {path}: {answer.status} {content[:300]!r}")
    found: dict[str, Any] = json.loads(content)
    return found


def _tokenised_per_second(text: str) -> float:
    """The yardstick: megabytes a second that the same tokeniser does by itself, on one core."""
    tokenizer = Tokenizer.from_pretrained("o200k_base")
    tokenizer.encode_ordinary(text[:10_000])
    began = time.process_time()
    for start in range(0, len(text), _MEGABYTE):
        tokenizer.encode_ordinary(text[start : start + _MEGABYTE])
    return len(text) / _MEGABYTE / (time.process_time() - began)
