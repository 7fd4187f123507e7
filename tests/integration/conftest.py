"""A Ray cluster that was started by hand, for the tests that join it or submit jobs to it.

A run that joins it takes half the time of one that starts a Ray of its own, so runs join unless that is the point.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.machines import Machine
from tests.tiny import environment, free_port

DEATH = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "6"}
"""A node that is gone counts as dead after three seconds, not after fifteen."""


@dataclass(frozen=True)
class Cluster:
    """A cluster of one node."""

    address: str
    jobs: str
    """Of its job server."""
    pid: int


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start a cluster for all tests of this process."""
    port, dashboard = free_port(), free_port()
    head = ["--head", "--node-ip-address", "127.0.0.1", "--port", str(port)]
    head += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard)]
    with node(head, tmp_path_factory.mktemp("ray") / "log", lambda log: listens(dashboard)) as process:
        yield Cluster(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", process.pid)


@pytest.fixture
def second_node(cluster: Cluster, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Let a node join the cluster, with an address of its own."""
    words = ["--address", cluster.address, "--node-ip-address", "127.0.0.2"]
    with node(words, tmp_path / "node", lambda log: "Ray runtime started" in log) as process:
        yield process


@contextmanager
def node(
    words: list[str], log: Path, is_up: Callable[[str], bool], on: Machine | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a node, on a machine of its own if one is given, wait until it is up, and end it after the block."""
    # Another Ray on this machine has the default port.
    more = ["--block", "--num-cpus", "2", "--dashboard-agent-listen-port", str(free_port())]
    command = [str(Path(sys.executable).parent / "ray"), "start", *words, *more]
    if on is not None:
        command = on.words(command)
    env = environment() | DEATH
    if (Path.home() / ".ray" / "auth_token").is_file():  # a head demands the token as soon as there is one
        env["RAY_AUTH_MODE"] = "token"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=env, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not is_up(log.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def listens(port: int) -> bool:
    """Return True if something listens at the port of localhost."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
