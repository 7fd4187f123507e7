"""A reward that runs programs: its host keeps the warm launcher, and takes it along when it ends."""

from __future__ import annotations

import textwrap
import time

import psutil
import pytest

from rewards.hosts.pool import HostPool, HostSpec
from rewards.rows import RewardRow

PLUGIN = """
import os, time
from rewards.sandbox.shared import shared_sandbox

def verl(solution_str, ground_truth, extra_info=None):
    outcome = shared_sandbox().run("python", solution_str)
    if outcome.verdict == "sandbox_error": return None
    if solution_str.startswith("# hang"): time.sleep(3600)
    if outcome.stdout.strip() == b"pid": return os.getpid()
    return float(outcome.stdout == b"1\\n")
"""


@pytest.fixture
def pool(tmp_path, sandbox):
    file = tmp_path / "plugin.py"
    file.write_text(textwrap.dedent(PLUGIN))
    before = _launchers()
    pool = HostPool(HostSpec(f"{file}:verl", {}, 5.0), 1)
    pool.start()
    yield pool
    pool.close()
    _, alive = psutil.wait_procs(set(_launchers()) - set(before), timeout=10)
    assert not alive


def _launchers():
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any("child/zygote.py" in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            pass
    return found


def _score(pool, *sources):
    rows = [RewardRow(source, answer="x", columns={}, group_index=i) for i, source in enumerate(sources)]
    return [(score.verdict, score.total) for score in pool.score(rows)]


def test_a_host_keeps_its_launcher_from_call_to_call(pool):
    before = {process.pid for process in _launchers()}
    assert _score(pool, "print(1)", "print(2)", "1 / 0") == [("ok", 1.0), ("ok", 0.0), ("ok", 0.0)]
    first = {process.pid for process in _launchers()} - before
    assert first
    pids = {_score(pool, "print('pid')")[0] for _ in range(3)}
    assert len(pids) == 1  # the host was not replaced for having children
    assert first <= {process.pid for process in _launchers()}  # a process about to run a program is there too


def test_a_host_that_is_killed_takes_its_launcher_along(pool):
    before = {process.pid for process in _launchers()}
    assert _score(pool, "print(1)") == [("ok", 1.0)]
    mine = [process for process in _launchers() if process.pid not in before]
    start = time.monotonic()
    assert _score(pool, "# hang")[0][0] == "timeout"
    assert time.monotonic() - start < 60
    _, alive = psutil.wait_procs(mine, timeout=20)
    assert not alive
    assert _score(pool, "print(1)") == [("ok", 1.0)]
