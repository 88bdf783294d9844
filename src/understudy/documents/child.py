"""The process that files are parsed in: `python -m understudy.documents.child`.

It reads `Order`s from its standard input and answers each on its standard output with chunks and an end, until its
input ends. Where it can, it forks for each file: what one file did to memory, or to the parser, the next one does not
meet, and the libraries are loaded once. If a fork dies of its file, this process dies in the same way, so that its
parent sees one process, and why it ended.
"""

import contextlib
import gc
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from understudy.confine import deny_network, limit
from understudy.core.limits import DOCUMENT_OPEN_FILES_MAX, ORDER_BYTES_MAX
from understudy.documents.extract import import_pdf, pages
from understudy.documents.kinds import suffix_of
from understudy.documents.messages import HEAD_BYTES, Answer, Finished, Order, Read, Refused, body_bytes, frame
from understudy.documents.pages import gibibytes
from understudy.documents.passages import batches
from understudy.ports import DocumentRefused
from understudy.retrieval.chunking import warm
from understudy.retrieval.static import StaticModel
from understudy.retrieval.terms import term_counts

_ORDERS: Final = msgspec.msgpack.Decoder(Order)


def main() -> None:
    # Native code may print: only answers shall go to the parent.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    deny_network()
    sys.dont_write_bytecode = True
    limit(file_bytes=0, open_files=DOCUMENT_OPEN_FILES_MAX)
    warm()
    term_counts("naïve")  # so that no fork has to make the tables for words beyond ASCII
    models: dict[str, StaticModel] = {}
    while order := _next_order(sys.stdin.buffer):
        model = _model(order.weights, models)
        if suffix_of(order.file_name) == ".pdf":
            import_pdf()
        if sys.platform == "linux":
            _apart(order, model, answers)
        else:
            _answer(order, model, answers)
            return  # the next file gets a new process


def _next_order(orders: BinaryIO) -> Order | None:
    head = orders.read(HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        return None
    return _ORDERS.decode(orders.read(body_bytes(head, ORDER_BYTES_MAX)))


def _model(weights: str | None, models: dict[str, StaticModel]) -> StaticModel | None:
    if weights is None:
        return None
    if weights not in models:
        models[weights] = StaticModel.load(Path(weights))
    return models[weights]


def _apart(order: Order, model: StaticModel | None, answers: BinaryIO) -> None:
    """In a process of its own, whose end is waited for."""
    gc.collect()
    gc.freeze()  # so that the fork's own collections copy nothing
    fork = os.fork()
    if fork == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
        _answer(order, model, answers)
        os._exit(0)
    _, status = os.waitpid(fork, 0)
    if os.WIFSIGNALED(status):
        ended_by = os.WTERMSIG(status)
        with contextlib.suppress(OSError, ValueError):  # SIGKILL cannot be set
            signal.signal(ended_by, signal.SIG_DFL)
        os.kill(os.getpid(), ended_by)
    if status:
        os._exit(os.waitstatus_to_exitcode(status))


def _answer(order: Order, model: StaticModel | None, answers: BinaryIO) -> None:
    limits = order.limits
    limit(memory_bytes=limits.memory_bytes, cpu_seconds=limits.cpu_seconds)
    try:
        count = 0
        for batch in batches(
            pages(Path(order.path), order.file_name, order.mime_type, text_bytes=limits.text_bytes),
            order.chunking,
            model,
        ):
            count += len(batch)
            _send(answers, Read(batch))
        last: Answer = Finished(count)
    except DocumentRefused as refused:
        last = Refused(refused.code, refused.message)
    except BrokenPipeError:
        return  # nobody wants it any more
    except MemoryError as error:
        memory = gibibytes(limits.memory_bytes)
        message = f"The file could not be parsed: it takes more than {memory} of memory."
        last = Refused("invalid_file", message, _place(error))
    except Exception as error:
        # What strangers wrote leads parsers to places where nobody has been.
        last = Refused("invalid_file", "The file could not be parsed: it is damaged.", _place(error))
    _send(answers, last)


def _send(answers: BinaryIO, answer: Answer) -> None:
    answers.write(frame(answer))
    answers.flush()


def _place(error: BaseException) -> str:
    """Which error it was, and where in the code; nothing of what was read."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} at {at}"


if __name__ == "__main__":
    main()
