"""An S3 server for the tests: moto's, which speaks the protocol over real HTTP and keeps buckets in memory."""

import atexit
import contextlib
import hashlib
import socket
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from moto.server import ThreadedMotoServer


class BucketServer:
    """Its buckets outlive `stop`, and `start` listens where it did before."""

    def __init__(self) -> None:
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        self._server.stop()
        assert self._server._server is not None
        self._server._server.server_close()  # or connections would still be taken, and never answered

    def listen_without_answering(self) -> socket.socket:
        """In its place, while it is stopped; to be closed before `start`."""
        return socket.create_server(("127.0.0.1", self._port))

    def make(self, bucket: str) -> dict[str, str]:
        """How to reach it, under the names of the usual variables in lower case; the same when asked for again."""
        made = urllib.request.urlopen(urllib.request.Request(f"{self.url}/{bucket}", method="PUT"))
        made.close()
        return {
            "aws_endpoint": self.url,
            "aws_region": "us-east-1",
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
        }


def bucket_of(directory: Path) -> tuple[str, dict[str, str]]:
    """A bucket that belongs to this directory, and how to reach it; the same when asked for again."""
    bucket = "test-" + hashlib.sha256(str(directory).encode()).hexdigest()[:24]
    return bucket, _shared().make(bucket)


@cache
def _shared() -> BucketServer:
    server = BucketServer()
    atexit.register(server.stop)
    return server


@contextlib.contextmanager
def new_bucket_server() -> Iterator[BucketServer]:
    """One of the test's own. It must run when this is left."""
    server = BucketServer()
    try:
        yield server
    finally:
        server.stop()


__all__ = ["BucketServer", "bucket_of", "new_bucket_server"]
