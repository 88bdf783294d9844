"""The Python inside the sandbox: reads code from one pipe, runs it in IPython, and tells of it on another.

It is handed into the sandbox as text, is never imported by the server, and imports nothing of ours. A request is a
line of JSON, `{"call": NONCE, "run": CODE}` or `{"call": NONCE, "load": [MODULE, ...]}`. Lines of JSON answer it:
`ready` once at the start, then for each request `began` once an interrupt is heard, `value`, `raised` and `picture` as
they come, and one `done`, the first and the last with the nonce. What the code prints goes to descriptors 1 and 2 as it
is.
"""

import base64
import importlib
import io
import json
import os
import resource
import signal
import sys
import threading
from typing import IO, Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config


class Channel:
    """The way to the server. Whole lines, also from several threads; a forked child is not heard."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pid = os.getpid()
        self._lock = threading.Lock()

    @property
    def is_mine(self) -> bool:
        return os.getpid() == self._pid

    def send(self, **event: object) -> None:
        if not self.is_mine:
            return
        # What was printed before belongs before it.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        line = json.dumps(event, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self._lock:
            while line:
                line = line[os.write(self._descriptor, line) :]


def taken_channels(events: int) -> tuple[IO[bytes], Channel]:
    """The requests that came as stdin, and the events. The code finds an empty stdin and nothing else open."""
    os.set_inheritable(events, False)
    requests = os.dup(0)
    empty = os.open("/dev/null", os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    low, high = sorted((requests, events))
    os.closerange(3, low)
    os.closerange(low + 1, high)
    os.closerange(high + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    return os.fdopen(requests, "rb"), Channel(events)


def limit(limits: dict[str, int]) -> None:
    """Set here, in the sandbox's own user namespace: RLIMIT_NPROC then counts this sandbox and not its whole user."""
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_AS: limits["address_bytes"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_NPROC: limits["processes"],
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))
    # A write beyond RLIMIT_FSIZE shall raise instead of ending the whole session.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


class Shell(InteractiveShell):  # type: ignore[misc]
    """IPython's shell, whose results and tracebacks go to the server."""

    channel: Channel
    picture_bytes_max: int
    characters_max: int
    displayhook_class = Type("__main__.Values")
    display_pub_class = Type("__main__.Displayed")

    def showed_picture(self, bundle: dict[str, Any]) -> bool:
        """Whether there was one, sent or too large to be."""
        picture = bundle.get("image/png")
        if picture is None:
            return False
        png = picture if isinstance(picture, bytes) else base64.b64decode(picture)
        if len(png) > self.picture_bytes_max:
            print(f"[an image of {len(png):,} bytes is left out: {self.picture_bytes_max:,} at most]")
        else:
            self.channel.send(event="picture", png=base64.b64encode(png).decode())
        return True

    def tell(self, event: str, text: str) -> None:
        over = len(text) - self.characters_max
        self.channel.send(event=event, text=text if over <= 0 else f"{text[:-over]} [{over:,} characters more]")

    def _showtraceback(self, _kind: object, _error: object, lines: list[str]) -> None:
        self.tell("raised", "\n".join(lines))

    def ask_exit(self) -> None:
        """exit() ends a terminal's session; here there is none to leave."""

    def enable_gui(self, gui: object = None) -> None:
        """Asked for by backends with windows."""


class Values(DisplayHook):  # type: ignore[misc]
    """What becomes of a last expression."""

    def write_output_prompt(self) -> None:
        pass

    def write_format_data(self, format_dict: dict[str, Any], _metadata: object = None) -> None:
        if not self.shell.showed_picture(format_dict) and "text/plain" in format_dict:
            self.shell.tell("value", format_dict["text/plain"])

    def finish_displayhook(self) -> None:
        pass


class Displayed(DisplayPublisher):  # type: ignore[misc]
    """What becomes of `display(...)`, and of figures."""

    def publish(self, data: dict[str, Any], *_args: object, **_options: object) -> None:
        if not self.shell.showed_picture(data) and "text/plain" in data:
            print(data["text/plain"])

    def clear_output(self, wait: bool = False) -> None:
        pass


def made_shell(channel: Channel, options: dict[str, int]) -> Shell:
    config = Config()
    # Its database would have a thread of its own, and a fork beside threads is warned of.
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "NoColor"
    config.InteractiveShell.xmode = "Context"
    config.Completer.use_jedi = False
    shell: Shell = Shell.instance(config=config)
    shell.channel = channel
    shell.picture_bytes_max = options["image_bytes"]
    shell.characters_max = options["text_characters"]
    shell.display_formatter.active_types = ["text/plain", "image/png"]
    return shell


class Runner:
    def __init__(self, requests: IO[bytes], channel: Channel, shell: Shell) -> None:
        self._requests = requests
        self._channel = channel
        self._shell = shell
        self._interruptible = False
        signal.signal(signal.SIGINT, self._interrupt)

    def serve(self) -> None:
        """Answers requests until there are no more."""
        while line := self._requests.readline():
            request = json.loads(line)
            try:
                self._answer(request)
            except KeyboardInterrupt:
                self._interruptible = False  # it came between the end of the code and here
            except Exception as error:
                # IPython itself had no memory left, for one.
                self._channel.send(event="raised", text=f"{type(error).__name__}: {error}")
            if not self._channel.is_mine:
                os._exit(0)  # the code forked, and its child came back to us
            self._channel.send(event="done", call=request["call"])

    def _answer(self, request: dict[str, Any]) -> None:
        if "load" in request:
            load(request["load"])
            # The first cell and the first figure take longer than all others.
            self._shell.run_cell("0", silent=True)
            self._shell.display_formatter.format(0)
            if "matplotlib.pyplot" in sys.modules:
                draw()
        else:
            self._run(request["run"], request["call"])

    def _run(self, code: str, call: str) -> None:
        # The code before may have set its own.
        signal.signal(signal.SIGINT, self._interrupt)
        self._interruptible = True
        try:
            self._channel.send(event="began", call=call)
            self._shell.run_cell(code, store_history=True)
        finally:
            self._interruptible = False

    def _interrupt(self, _number: int, _frame: object) -> None:
        if self._interruptible:
            raise KeyboardInterrupt


def load(names: list[str]) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            print(f"{name}: {error!r}", file=sys.stderr)


def draw() -> None:
    pyplot = sys.modules["matplotlib.pyplot"]
    figure = pyplot.figure()
    figure.gca().plot([0, 1])
    figure.savefig(io.BytesIO(), format="png")
    pyplot.close(figure)


def main() -> None:
    options = json.loads(sys.argv[1])
    requests, channel = taken_channels(options["events"])
    limit(options)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="replace")  # type: ignore[union-attr]
    sys.argv = [""]
    sys.path.insert(0, "")
    shell = made_shell(channel, options)
    channel.send(event="ready")
    Runner(requests, channel, shell).serve()
    os._exit(0)


if __name__ == "__main__":
    main()
