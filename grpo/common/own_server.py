"""A policy behind `grpo serve` in a process of its own, for as long as a block runs.

    with own_server(Path("runs/demo/policy"), ["--max-model-len", "4096"]) as url:     # "http://127.0.0.1:41234/v1"

`grpo chat` and the stages that judge by a policy start it, so all of them see the engine that `grpo serve` shows.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from grpo.common.errors import RunError
from grpo.common.orphans import ending_with_me

START_TIMEOUT_S, STOP_TIMEOUT_S = 600.0, 20.0


@contextmanager
def own_server(folder: Path, options: Sequence[str]) -> Iterator[str]:
    """Serve a policy on a free port of this machine while the block runs; yields the address.

    It ends with this process, however that ends; a signal handler must leave the block, as `stopping` does.

    Args:
        folder: model folder.
        options: more options of `grpo serve`.

    Raises:
        RunError: the server ends or is not ready in time; the message has what it printed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "grpo.cli", "serve", str(folder), "--port", str(port), *options]
    words += ["--", "--uvicorn-log-level", "warning"]
    with tempfile.TemporaryFile("w+") as log:
        # A session of its own: Ctrl-C ends a reply or a stage, which then ends the server.
        child = subprocess.Popen(
            words,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            with ending_with_me(child.pid):
                wait_until_ready(child, url, log)
                yield f"{url}/v1"
        finally:
            stop(child)


def wait_until_ready(child: subprocess.Popen[bytes], url: str, log: TextIO) -> None:
    """Return when the server answers.

    Raises:
        RunError: it ended, or START_TIMEOUT_S are over.
    """
    print("starting vLLM (half a minute) …", file=sys.stderr, flush=True)
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        if child.poll() is not None:
            log.seek(0)
            output = log.read()
            raise RunError(
                f"the server did not start (exit status {child.returncode}):\n{output[-4000:].strip()}"
            )
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RunError(f"the server was not ready after {START_TIMEOUT_S:.0f} s")


def stop(child: subprocess.Popen[bytes]) -> None:
    """End a server and all its processes."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
