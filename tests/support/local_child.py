"""A local model's process without a model: run as a script, it speaks the child's protocol and answers as it is told.

The order's `gguf` names a JSON file: `{"answer": [pieces of text], "finish_reason": "stop", "start": "serve"}`. Beside
it, `.starts` gets a line per start and `.requests` a line per request.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main() -> None:
    order = json.loads(sys.stdin.buffer.readline())
    gguf = Path(order["gguf"])
    script = json.loads(gguf.read_text())
    _note(gguf, ".starts", {"pid": os.getpid(), "argv": sys.argv[1:], "order": order})
    match script.get("start", "serve"):
        case "fail":
            _say({"type": "Failed", "reason": "bad magic", "missing": False})
        case "exit":
            print("the last words", file=sys.stderr)
            sys.exit(3)
        case "hang":
            while True:
                time.sleep(60)
        case how:
            server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(gguf, script, order["key"]))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            _say({"type": "Ready", "base_url": f"http://127.0.0.1:{server.server_port}/v1"})
            while sys.stdin.buffer.read(1) or how == "stubborn":
                time.sleep(0.01)


def _say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _note(gguf: Path, suffix: str, entry: object) -> None:
    with gguf.with_name(gguf.name + suffix).open("a") as file:
        file.write(json.dumps(entry) + "\n")


def _handler(gguf: Path, script: dict[str, object], key: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.headers["Authorization"] != f"Bearer {key}":
                self.send_error(401)
                return
            _note(gguf, ".requests", body)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for piece in script.get("answer", ["Hello"]):
                self._chunk({"choices": [{"delta": {"content": piece}, "finish_reason": None}]})
            finish_reason = script.get("finish_reason", "stop")
            self._chunk({"choices": [{"delta": {}, "finish_reason": finish_reason}]})
            self._chunk({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}})
            self.wfile.write(b"data: [DONE]\n\n")

        def _chunk(self, chunk: dict[str, object]) -> None:
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

        def log_message(self, *args: object) -> None:
            pass

    return Handler


if __name__ == "__main__":
    main()
