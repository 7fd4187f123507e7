"""10,000 runs leave nothing behind. Slow: minutes."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.settings import SandboxSettings
from rewards.sandbox.types import Limits
from tests.rewards.sandbox.conftest import TIERS

RUNS = 10_000
PROGRAMS = [  # mostly honest; every kind of end
    "print(sum(range(100)))",
    "print(input())",
    "raise ValueError('x')",
    "open('f', 'w').write('x' * 1000); open('/dev/shm/f', 'w').write('x')",
    "import os\nif os.fork() == 0:\n    os.setsid()\n    while True: pass",
    "while True: print('x' * 1000)",
    "import os; os.mkdir('d'); os.symlink('/', 'd/l'); os.abort()",
    "import time; time.sleep(9)",
]


def _count():
    """Processes, descriptors, threads of this process; work directories, groups and mounts of the host."""
    me = psutil.Process()
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    folders = [
        tempfile.gettempdir(),
        "/dev/shm",
        *(line.split()[4] for line in mounts if " - cgroup" in line),
    ]
    return {
        "processes": len(me.children(recursive=True)),
        "descriptors": me.num_fds(),
        "threads": me.num_threads(),
        "mounts": len(mounts),
        "folders": sum(1 for folder in folders for _ in Path(folder).glob("**/grpo-sandbox-*")),
        "shared memory": len(Path("/proc/sysvipc/shm").read_text().splitlines()),
    }


def _settled(expected):
    """Processes 1 of the last runs may be leaving."""
    give_up = time.monotonic() + 20
    while (now := _count()) != expected and time.monotonic() < give_up:
        time.sleep(0.1)
    return now


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", list(TIERS)[:3])
def test_many_runs_leave_nothing(opened, name):
    opened.get(name)  # or skip
    opened.close()
    runs = int(os.environ.get("GRPO_SANDBOX_RUNS", RUNS if name == "namespaces" else RUNS // 10))
    limits = Limits(wall_s=0.4, output_bytes=20_000)
    before = _count()
    with Sandbox.open(SandboxSettings.model_validate(TIERS[name])) as sandbox, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: sandbox.run("python", PROGRAMS[n % 8], b"x\n", limits), range(64)))
        gc.collect()
        opened_count = _settled(_count())
        rss = psutil.Process().memory_info().rss
        verdicts: dict[str, int] = {}
        for outcome in pool.map(
            lambda n: sandbox.run("python", PROGRAMS[n % 40 if n % 40 < 8 else n % 2], b"x\n", limits),
            range(runs),
        ):
            verdicts[outcome.verdict] = verdicts.get(outcome.verdict, 0) + 1
        gc.collect()
        after = _settled(opened_count)
        grown = psutil.Process().memory_info().rss - rss
    print(name, verdicts, opened_count, after, f"grown by {grown / 2**20:.1f} MiB")
    assert sum(verdicts.values()) == runs
    assert "sandbox_error" not in verdicts
    assert after == opened_count
    assert grown < 32 << 20
    closed = _settled(before)
    del before["threads"], closed["threads"]
    assert closed == before
