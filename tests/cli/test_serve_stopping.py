"""How `understudy serve` stops: nobody is let in while it hands on what it works on."""

import asyncio
import socket
from pathlib import Path

import uvicorn

from understudy.app import Understudy
from understudy.cli.protocol import BoundedHttp
from understudy.cli.serve import _Server, listening
from understudy.settings import Settings

GET = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


class SlowToDrain(Understudy):
    """Takes its time, as one with many runs does."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.draining, self.drained = asyncio.Event(), asyncio.Event()

    async def drain(self) -> None:
        self.draining.set()
        await self.drained.wait()
        await super().drain()


async def test_a_server_that_is_stopped_lets_nobody_in_while_it_drains(tmp_path: Path) -> None:
    app = SlowToDrain(Settings(data_dir=tmp_path, local_model=False))
    config = uvicorn.Config(app, http=BoundedHttp, lifespan="on", log_config=None)
    config.load()
    server = _Server(config, app, "")
    server.lifespan = config.lifespan_class(config)
    with listening("127.0.0.1", 0) as listener:
        address: tuple[str, int] = listener.getsockname()
        await server.startup(sockets=[listener])
        reader, writer = await asyncio.open_connection(*address)
        writer.write(GET)
        assert (await reader.readuntil(b'{"status":"ok"}')).startswith(b"HTTP/1.1 200")
        stopping = asyncio.create_task(server.shutdown(sockets=[listener]))
        async with asyncio.timeout(10):
            await app.draining.wait()
            assert await reader.read() == b""  # one that was kept open for another request
            try:
                socket.create_connection(address, timeout=5).close()
            except ConnectionRefusedError:
                pass
            else:
                raise AssertionError("it listens still")
            app.drained.set()
            await stopping
        writer.close()
        await writer.wait_closed()
