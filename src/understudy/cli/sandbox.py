"""`understudy sandbox`: the code interpreter's environment, whether it works here, and its daemon."""

import asyncio
import json
import shutil
import socket
import sys
from typing import Final, TextIO

import uvicorn

from understudy.app import make_sandboxes, sandbox_limits
from understudy.cli.protocol import BoundedHttp
from understudy.cli.serve import listening
from understudy.cli.terminal import Stop, note
from understudy.core.limits import SANDBOX_CONNECTIONS_MAX, SANDBOX_SILENCE_SECONDS
from understudy.logs import configure
from understudy.ports import SandboxBusy, SandboxUnavailable
from understudy.sandbox.building import NotBuilt, build_environment, built_environment
from understudy.sandbox.daemon import Daemon
from understudy.sandbox.opening import environment_in, open_local_sandboxes
from understudy.sandbox.plain import whose_rights
from understudy.sandbox.profiles import PROFILES, Profile, pins
from understudy.settings import Settings

__all__ = ["check", "init", "serve"]

KEY_LENGTH_MIN: Final = 16


def init(settings: Settings, profile: str, python: str | None) -> None:
    """Raises `Stop`."""
    wanted: Profile | None = next((known for known in PROFILES if known == profile), None)
    if wanted is None:
        raise Stop(f"There is no profile '{profile}': take one of {', '.join(PROFILES)}.")
    configure(settings.log_level, settings.log_format)
    progress = _Progress(sys.stderr)
    try:
        is_new = build_environment(settings.sandbox, wanted, pins(wanted), python=python, progress=progress.at)
    except NotBuilt as reason:
        raise Stop(str(reason)) from reason
    finally:
        progress.end()
    place = environment_in(settings.sandbox)
    print(f"The environment {wanted} is {'in' if is_new else 'already in'} {place}")


def check(settings: Settings, *, as_json: bool) -> bool:
    """Prints whether code can be run, and what mends it where it cannot; the same is returned."""
    built = None if settings.sandbox_urls else built_environment(settings.sandbox)
    where = settings.sandbox_urls or str(environment_in(settings.sandbox))
    sandboxed = settings.code_interpreter != "unsafe-local"
    configure("warning", settings.log_format)
    reason = asyncio.run(_reason(settings))
    if as_json:
        environment = None if built is None else {"profile": built.profile, "python": built.python}
        said = {"works": reason is None, "reason": reason, "where": where, "environment": environment}
        print(json.dumps({**said, "sandboxed": sandboxed}))
        return reason is None
    if settings.sandbox_urls:
        print(f"Daemons:      {where}")
    else:
        print(f"bubblewrap:   {shutil.which('bwrap') or 'not found'}")
        of = f"{built.profile}, Python {built.python}" if built else "not made by `understudy sandbox init`"
        print(f"Environment:  {where} ({of})")
    held = "code runs, and does not get out." if sandboxed else f"NONE: code runs with the rights of {whose_rights()}."
    print(f"Sandbox:      {reason or held}")
    return reason is None


def serve(settings: Settings, host: str, port: int) -> None:
    """Returns when it was stopped with Ctrl-C. Raises `Stop` when it cannot start."""
    configure(settings.log_level, settings.log_format)
    key = settings.sandbox_key
    if key is None or len(key) < KEY_LENGTH_MIN:
        raise Stop(
            f"A daemon of sandboxes wants a key of at least {KEY_LENGTH_MIN} characters, the same as its servers: set "
            "UNDERSTUDY_SANDBOX_KEY, to what `openssl rand -hex 32` prints, say."
        )
    with listening(host, port) as listener:
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # What it accepts inherits this: who holds a session and vanishes without a word does not hold it for long.
            milliseconds = int(SANDBOX_SILENCE_SECONDS * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        try:
            asyncio.run(_serve(settings, key, listener))
        except KeyboardInterrupt:
            return


async def _serve(settings: Settings, key: str, listener: socket.socket) -> None:
    sandboxes = open_local_sandboxes(
        settings.sandbox,
        limits=sandbox_limits(settings),
        sessions_max=settings.sandbox_sessions,
        warm=settings.sandbox_warm,
    )
    settings.sandbox.mkdir(mode=0o711, parents=True, exist_ok=True)
    try:
        await sandboxes.check()
    except SandboxUnavailable as reason:
        await sandboxes.close()
        raise Stop(str(reason)) from reason
    config = uvicorn.Config(
        Daemon(sandboxes, key, settings.sandbox),
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=SANDBOX_CONNECTIONS_MAX,
        timeout_graceful_shutdown=1,  # a lease lasts as long as its holder likes
    )
    try:
        sandboxes.warm_up()
        host, port = listener.getsockname()[:2]
        note(f"Sandboxes for servers with the key are at http://{f'[{host}]' if ':' in host else host}:{port}")
        await uvicorn.Server(config).serve(sockets=[listener])
    finally:
        await sandboxes.close()


async def _reason(settings: Settings) -> str | None:
    sandboxes = make_sandboxes(settings)
    try:
        await sandboxes.check()
    except (SandboxUnavailable, SandboxBusy) as reason:
        return str(reason)
    finally:
        await sandboxes.close()
    return None


class _Progress:
    """One line that counts up on a terminal; elsewhere a line for each kind of work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._told: set[str] = set()

    def at(self, what: str, done: int, total: int) -> None:
        if self._live:
            self._stream.write(f"\r\x1b[K{done:3d} of {total} packages: {what}")
            self._stream.flush()
        elif (kind := what.split()[0]) not in self._told:
            self._told.add(kind)
            note(f"{kind.capitalize()} {total} packages" if total and kind != "making" else what.capitalize())

    def end(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
