"""An S3 server for the tests: moto's, which speaks the protocol over real HTTP and keeps buckets in memory."""

import atexit
import hashlib
import urllib.request
from functools import cache
from pathlib import Path

from moto.server import ThreadedMotoServer


def bucket_of(directory: Path) -> tuple[str, dict[str, str]]:
    """A bucket that belongs to this directory, and how to reach it; the same when asked for again."""
    bucket = "test-" + hashlib.sha256(str(directory).encode()).hexdigest()[:24]
    config = {
        "aws_endpoint": _server(),
        "aws_region": "us-east-1",
        "aws_access_key_id": "test",
        "aws_secret_access_key": "test",
    }
    made = urllib.request.urlopen(urllib.request.Request(f"{config['aws_endpoint']}/{bucket}", method="PUT"))
    made.close()
    return bucket, config


@cache
def _server() -> str:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    atexit.register(server.stop)
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


__all__ = ["bucket_of"]
