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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tiny import environment, free_port


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
    words = ["start", "--head", "--block", "--node-ip-address", "127.0.0.1", "--port", str(port)]
    words += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard), "--num-cpus", "2"]
    # Another Ray on this machine has the default one.
    words += ["--dashboard-agent-listen-port", str(free_port())]
    command = [str(Path(sys.executable).parent / "ray"), *words]
    log = tmp_path_factory.mktemp("ray") / "log"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment(), start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", dashboard)) == 0:
                    break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield Cluster(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
