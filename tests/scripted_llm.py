"""A chat server of this process that answers as its script says."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Step = Callable[["Handler"], None]
MODEL = "scripted"


def say(text: str | None, finish: str = "stop") -> Step:
    """Answer with a chat completion of 10 prompt tokens and 5 of its own."""
    message = {"role": "assistant", "content": text}
    reply = {
        "choices": [{"message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }
    return raw(json.dumps(reply).encode())


def raw(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Step:
    return lambda handler: handler.give(status, content, headers or {})


def truncated(handler: Handler) -> None:
    """Announce more bytes than are sent, then close."""
    handler.send_response(200)
    handler.send_header("Content-Length", "500")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.close_connection = True


def reset(handler: Handler) -> None:
    """Cut the connection before any answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def dripping(handler: Handler) -> None:
    """Send a byte at a time for as long as somebody listens: no single read ever times out."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    try:
        while not handler.script.stopped.wait(0.02):
            handler.wfile.write(b" ")
    except OSError:
        pass
    handler.close_connection = True


@dataclass
class Script:
    """What the server does: the steps in order, then the last one for ever; or an answer to each request."""

    steps: list[Step] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], Step] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    models: list[str] = field(default_factory=lambda: [MODEL])
    delay_s: float = 0.0
    url: str = ""
    most_at_once: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    script: Script
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            content = json.dumps({"data": [{"id": name} for name in self.script.models]}).encode()
            self.give(200, content, {})
        else:
            self.give(404, b"nothing here", {})

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        script = self.script
        with script.lock:
            script.at_once += 1
            script.most_at_once = max(script.most_at_once, script.at_once)
            number = len(script.asked)
            script.asked.append(sent)
            script.headers.append(dict(self.headers))
            script.times.append(time.monotonic())
        if script.delay_s:
            script.stopped.wait(script.delay_s)
        step = script.answer(sent) if script.answer else script.steps[min(number, len(script.steps) - 1)]
        with script.lock:
            script.at_once -= 1
        step(self)

    def give(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:  # a client that has left is what some tests are about
        pass


@contextmanager
def scripted_server() -> Iterator[Script]:
    """Serve a script on a free port while the block runs."""
    script = Script()
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"script": script}))
    script.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield script
    finally:
        script.stopped.set()
        server.shutdown()
        server.server_close()
