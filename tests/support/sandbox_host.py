"""A server process with sandboxes and nothing else: `python -m support.sandbox_host OPTIONS`.

It answers lines of JSON on its standard input with lines on its standard output, one at a time unless a command says
`"beside": true`. So tests see the sandboxes of a server that is an ordinary user or root, can measure it, and kill it.
"""

import asyncio
import base64
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

from understudy.ports import CodeEvent
from understudy.sandbox import tree
from understudy.sandbox.limits import SandboxLimits
from understudy.sandbox.local import LocalSandboxes
from understudy.sandbox.plain import PlainSandboxes
from understudy.sandbox.session import Session


class Host:
    def __init__(self, sandboxes: LocalSandboxes, folder: Path) -> None:
        self.folder = folder
        self._sandboxes = sandboxes
        self._held: dict[str, Session] = {}

    async def answer(self, command: Mapping[str, Any]) -> object:
        match command["do"]:
            case "check":
                await self._sandboxes.check()
                return None
            case "memory":
                return memory()
            case "warm":
                self._sandboxes.warm_up()
                return None
            case "interrupt":
                await self._held[command["key"]].interrupt()
                return None
            case "running":
                await self._until_running(command["key"])
                return None
        async with self._sandboxes.open(command["key"]) as session:
            self._held[command["key"]] = session
            return await self._use(session, command)

    async def _until_running(self, key: str) -> None:
        while key not in self._held or self._held[key]._running is None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.002)

    async def _use(self, session: Session, command: Mapping[str, Any]) -> object:
        match command["do"]:
            case "execute":
                before = session.state
                events: list[CodeEvent] = []
                async for event in session.execute(command["code"], seconds=command.get("seconds")):
                    events.append(event)  # noqa: PERF401
                return {"state": before, "events": msgspec.to_builtins(events)}
            case "put" if "size_bytes" in command:
                with tempfile.NamedTemporaryFile(dir=self.folder) as sparse:
                    sparse.truncate(command["size_bytes"])
                    return await session.put(command["name"], Path(sparse.name))
            case "put":
                return await session.put(command["name"], command["text"].encode())
            case "processes":
                return [member.pid for member in tree.below(session._bubble.root)]
            case "changes":
                return msgspec.to_builtins(await session.changes())
            case "files":
                return msgspec.to_builtins(await session.files())
            case "get":
                content = b"".join([block async for block in session.get(command["name"])])
                return base64.b64encode(content).decode()
            case "state":
                return session.state
            case "end":
                await session.end()
        return None


def memory() -> dict[str, int]:
    """Bytes that this process has in memory now, and at most had."""
    words = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
    return {name: int(words[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")}


async def serve(options: Mapping[str, Any]) -> None:
    limits = SandboxLimits(**options.pop("limits", {}))  # type: ignore[attr-defined]
    paths = {name: Path(options.pop(name)) for name in ("environment", "folder")}  # type: ignore[attr-defined]
    kind = PlainSandboxes if options.pop("plain", False) else LocalSandboxes  # type: ignore[attr-defined]
    sandboxes = kind(**paths, limits=limits, **options)
    host = Host(sandboxes, paths["folder"])
    reader = asyncio.StreamReader(limit=2**26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    beside: set[asyncio.Task[None]] = set()
    try:
        while line := await reader.readline():
            command = json.loads(line)
            task = asyncio.create_task(tell(host, command))
            beside.add(task)
            task.add_done_callback(beside.discard)
            if not command.get("beside"):
                await task
    finally:
        await sandboxes.close()


async def tell(host: Host, command: Mapping[str, Any]) -> None:
    try:
        said: dict[str, object] = {"said": await host.answer(command)}
    except Exception as error:
        said = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps({"id": command["id"], **said}), flush=True)


if __name__ == "__main__":
    # Standard output is for answers.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(serve(json.loads(sys.argv[1])))
