"""`understudy sandbox`: the code interpreter's environment, whether it works here, and its daemon."""

import asyncio
import json
import shutil
import sys
from typing import TextIO

from understudy.app import make_sandboxes
from understudy.cli.terminal import Stop, note
from understudy.logs import configure
from understudy.ports import SandboxBusy, SandboxUnavailable
from understudy.sandbox.building import NotBuilt, build_environment, built_environment
from understudy.sandbox.opening import environment_in
from understudy.sandbox.profiles import PROFILES, Profile, pins
from understudy.settings import Settings

__all__ = ["check", "init"]


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
    configure("warning", settings.log_format)
    reason = asyncio.run(_reason(settings))
    if as_json:
        environment = None if built is None else {"profile": built.profile, "python": built.python}
        print(json.dumps({"works": reason is None, "reason": reason, "where": where, "environment": environment}))
        return reason is None
    if settings.sandbox_urls:
        print(f"Daemons:      {where}")
    else:
        print(f"bubblewrap:   {shutil.which('bwrap') or 'not found'}")
        of = f"{built.profile}, Python {built.python}" if built else "not made by `understudy sandbox init`"
        print(f"Environment:  {where} ({of})")
    print(f"Sandbox:      {reason or 'code runs, and does not get out.'}")
    return reason is None


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
