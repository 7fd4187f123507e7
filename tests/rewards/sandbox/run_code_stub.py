"""A sandbox host on 127.0.0.1 with the `run_code` API, for tests: it runs programs in the local sandbox, or misbehaves
in one of the ways of `MISBEHAVIOURS`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.types import MIB, Limits, Outcome

Answer = tuple[int, bytes]
LANGUAGES = {"nodejs": "javascript"}


class StubHost:
    """Serves `answer(request)` until `close`; `requests` holds what came."""

    def __init__(self, answer: Callable[[dict[str, Any]], Answer]) -> None:
        self.requests: list[dict[str, Any]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.requests.append(request)
                status, body = answer(request)
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    if status == 307:
                        self.send_header("Location", "http://127.0.0.1:1/run_code")
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:  # the client has gone
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def honest(sandbox: Sandbox) -> Callable[[dict[str, Any]], Answer]:
    """What SandboxFusion does with a request, with the local sandbox in the place of a bare process."""

    def answer(request: dict[str, Any]) -> Answer:
        limits = Limits(
            wall_s=request["run_timeout"],
            compile_wall_s=request.get("compile_timeout", 10),
            memory_bytes=max(request.get("memory_limit_MB", 512), 16) * MIB,
        )
        language = LANGUAGES.get(request["language"], request["language"])
        outcome = sandbox.run(language, request["code"], (request.get("stdin") or "").encode(), limits)
        return 200, json.dumps(reply_of(outcome)).encode()

    return answer


def reply_of(outcome: Outcome) -> dict[str, Any]:
    """An outcome as the API reports it."""
    if outcome.verdict in ("sandbox_error", "unsupported_language"):
        return {"status": "SandboxError", "message": outcome.reason}
    code = outcome.exit_code
    command = {
        "status": "TimeLimitExceeded" if outcome.verdict == "time_limit" else "Finished",
        "execution_time": outcome.wall_s,
        "return_code": None
        if outcome.verdict == "time_limit"
        else (128 - code if code and code > 128 else code),
        "stdout": _text(outcome.stdout),
        "stderr": _text(outcome.stderr),
    }
    part = "compile_result" if outcome.verdict == "compile_error" else "run_result"
    return {
        "status": "Success" if outcome.verdict == "ok" else "Failed",
        "message": "",
        part: command,
        "executor_pod_name": None,
        "files": {},
    }


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        return f"[DecodeError] {error}"


def _json(**reply: Any) -> Answer:
    return 200, json.dumps(reply).encode()


FINISHED = {"status": "Finished", "execution_time": 0.1, "return_code": 0, "stdout": "42\n", "stderr": ""}
MISBEHAVIOURS: dict[str, Callable[[dict[str, Any]], Answer]] = {
    "status 500": lambda _: (500, b'{"detail": "out of disk"}'),
    "status 422": lambda _: (422, b'{"detail": []}'),
    "status 307": lambda _: (307, b""),
    "garbage": lambda _: (200, b"\xff\xfe<html>"),
    "other JSON": lambda _: (200, b"[1, 2]"),
    "nothing": lambda _: (200, b""),
    "huge": lambda _: (200, b" " * (16 * MIB)),
    "its own error": lambda _: _json(status="SandboxError", message="no space left"),
    "an error of the process": lambda _: _json(
        status="Failed", message="", run_result={"status": "Error", "stderr": "no such file: python"}
    ),
    "no run_result": lambda _: _json(status="Success", message=""),
    "no return_code": lambda _: _json(
        status="Success", message="", run_result={**FINISHED, "return_code": None}
    ),
    "unknown status": lambda _: _json(status="Great", message="", run_result=FINISHED),
    "time that is none": lambda _: (
        200,
        b'{"status": "Success", "message": "", "run_result": {"status": "Finished", "execution_time": NaN}}',
    ),
}
