"""The process that the local model runs in: `python -m understudy.models.local_child`.

It reads one `Order` as a line of JSON from its standard input, writes one `Ready` or `Failed` as a line of JSON to its
standard output, and serves until its input ends: when the parent closes it, or is no more. A crash of native code
stays in here. Nothing heavy is imported, so that it starts fast and small.
"""

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from xllamacpp import Server


class Order(Struct, frozen=True, kw_only=True):
    """What to serve. `slot_tokens` is the context of each of the `slots`: none takes room from another."""

    gguf: str
    key: str
    model: str
    slots: int
    slot_tokens: int
    threads: int


class Ready(Struct, frozen=True, tag=True):
    base_url: str


class Failed(Struct, frozen=True, tag=True):
    """`missing`: the package that runs the model is not installed, or does not work on this machine."""

    reason: str
    missing: bool = False


def main() -> None:
    # A terminal's Ctrl-C and a service manager's SIGTERM reach the whole group, and the parent still needs this model
    # to finish its runs. The end of the input is what ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Native code may print: only the answer shall go to the parent.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    line = sys.stdin.buffer.readline()
    if not line:
        return
    threading.Thread(target=_end_with_input, daemon=True).start()
    outcome = _serve(msgspec.json.decode(line, type=Order))
    match outcome:
        case Failed():
            answer: Ready | Failed = outcome
        case server:
            answer = Ready(f"{server.listening_address}/v1")
    with answers:
        answers.write(msgspec.json.encode(answer) + b"\n")
    if isinstance(answer, Ready):
        threading.Event().wait()


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    # Not sys.exit: an answer being written would hold the process up.
    os._exit(0)


def _serve(order: Order) -> "Server | Failed":
    try:
        import xllamacpp
    except ImportError as error:
        return Failed(str(error), missing=True)
    params = xllamacpp.CommonParams()
    params.model.path = order.gguf
    params.model_alias = {order.model}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [order.key]
    params.n_parallel = order.slots
    params.n_ctx = order.slots * order.slot_tokens
    # With one pool for all slots, an overflow ends the answers of all of them.
    params.kv_unified = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order.threads
    params.fit_params = False
    params.cache_ram_mib = 0
    # Small, so that one long prompt does not hold up the other slots' tokens for seconds.
    params.n_batch = params.n_ubatch = 256
    # Otherwise a thread that ends with an assistant's message would be continued instead of answered.
    params.prefill_assistant = False
    params.ui = False
    params.endpoint_slots = False
    params.warmup = False
    params.verbosity = 1
    # What requests that say nothing get. At the usual 0.8 a model of this size loses the thread.
    params.sampling.temp = 0.2
    params.sampling.top_p = 0.9
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        return Failed(str(error))


if __name__ == "__main__":
    main()
