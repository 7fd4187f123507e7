"""The same recipe on a Ray cluster that was started by hand, joined and by `grpo submit`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny import environment, free_port, make_base, outcome, run_grpo, write_recipe

pytestmark = [pytest.mark.engine, pytest.mark.ray]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(GCS address, job server) of a cluster of one node."""
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
        yield f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_submitted_job_returns_its_exit_code_and_the_same_bits(
    cluster: tuple[str, str], tmp_path: Path
) -> None:
    gcs, jobs = cluster
    base = make_base(tmp_path)
    joined = write_recipe(tmp_path, base, tmp_path / "joined")
    submitted = write_recipe(tmp_path, base, tmp_path / "submitted")
    run_grpo("rl", joined, "--address", gcs)
    done = run_grpo("submit", submitted, "--address", jobs)
    assert "eval step 4" in done.stdout
    assert outcome(tmp_path / "submitted") == outcome(tmp_path / "joined")

    failed = run_grpo("submit", submitted, "--set", "algorithm.group_siz=2", "--address", jobs, check=False)
    assert failed.returncode == 1
    assert "did you mean algorithm.group_size?" in failed.stdout


def test_no_cluster_is_one_clear_error(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, tmp_path / "none", tmp_path / "run")
    failed = run_grpo("submit", recipe, "--address", "http://127.0.0.1:9", check=False)
    assert failed.returncode == 1
    assert "ray start --head" in failed.stderr
    assert "Traceback" not in failed.stderr
