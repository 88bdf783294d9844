"""`understudy serve`: one process that listens, answers, and works on runs."""

import errno
import gc
import os
import socket
import sys
from typing import Final

import uvicorn

from understudy.app import START_REFUSALS, Understudy, create_app
from understudy.cli.banner import banner
from understudy.cli.protocol import BoundedHttp
from understudy.cli.storage import with_store
from understudy.cli.terminal import Stop
from understudy.entropy import now
from understudy.keys import Keys
from understudy.logs import configure
from understudy.setting_sources import Loaded

__all__ = ["allow_open_files", "listening", "serve", "spare_the_collector"]

BACKLOG: Final = 2048
OPEN_FILES_MAX: Final = 16_384  # two connections for each stream, one to its reader and one to its model server
COLLECTED_OBJECTS: Final = 10_000  # made and still there, after which the garbage collector looks through them
# Runs are leased: what is cut off here is taken up by the next worker, so there is little to wait for.
GRACEFUL_SHUTDOWN_SECONDS: Final = 3


def serve(loaded: Loaded) -> None:
    """Returns when the server was stopped with Ctrl-C. Raises `Stop`, `SettingError` when it cannot start."""
    settings = loaded.settings
    configure(settings.log_level, settings.log_format)
    allow_open_files()
    listener = listening(settings.host, settings.port)
    with listener:
        app = create_app(settings)
        key = None
        if settings.api_key is None:
            key = with_store(settings, lambda store: Keys(store, now).ensure_first_key(settings.data_dir))
        config = uvicorn.Config(
            app,
            http=BoundedHttp,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_SECONDS,
        )
        port = listener.getsockname()[1]
        try:
            _Server(config, app, banner(loaded, port=port, first_key=key)).run(sockets=[listener])
        except KeyboardInterrupt:
            return  # uvicorn has closed everything before it raises this
        except SystemExit:  # how uvicorn says that the application did not start
            if isinstance(app.start_failure, START_REFUSALS):
                raise Stop(f"The server cannot start: {app.start_failure}") from app.start_failure
            raise


class _Server(uvicorn.Server):
    """Prints its banner once requests are answered, and tells its streams before it stops."""

    def __init__(self, config: uvicorn.Config, app: Understudy, text: str) -> None:
        super().__init__(config)
        self._app = app
        self._text = text

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        spare_the_collector()
        if self.started:
            print(self._text, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Nobody is let in from now on: what began here would be broken off at once, and another process may be there.
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        # Before the connections are waited for: a stream would last as long as its run does.
        await self._app.drain()
        await super().shutdown(sockets)


def spare_the_collector() -> None:
    """To be called when all is loaded: that stays, and need not be looked through for what each run leaves.

    Nor does what runs at work still need, again and again: reference counts free nearly all that they leave.
    """
    gc.freeze()
    gc.set_threshold(COLLECTED_OBJECTS, *gc.get_threshold()[1:])


def allow_open_files() -> None:
    """Lets the process have as many connections as it may: the usual first bound of 1,024 is for old programs' sake."""
    if sys.platform != "win32":
        import resource

        allowed, allowable = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OPEN_FILES_MAX if allowable == resource.RLIM_INFINITY else min(OPEN_FILES_MAX, allowable)
        if allowed != resource.RLIM_INFINITY and allowed < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, allowable))


def listening(host: str, port: int) -> socket.socket:
    """A listening socket, before anything else is set up: a port in use is the likeliest thing to go wrong."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise Stop(f"The host '{host}' is no address of this machine: {error.strerror}.") from error
    # `localhost` is often both ::1 and 127.0.0.1; every client tries the second too.
    family, kind, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    # With the protocol named, asyncio sets TCP_NODELAY on what is accepted; without it tokens wait for each other.
    listener = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise Stop(_why_not(error, host, port)) from error
    return listener


def _why_not(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"Port {port} on {host} is in use: stop what listens there, or choose another port with --port."
        case errno.EACCES:
            return f"Port {port} on {host} is not allowed to this user: choose one above 1023 with --port."
        case _:
            return f"Cannot listen on {host} port {port}: {error.strerror}."
