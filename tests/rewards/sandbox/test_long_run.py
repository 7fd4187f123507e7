"""10,000 runs leave nothing behind. Slow: minutes."""

from __future__ import annotations

import gc
import os
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


def _count(sandbox=None):
    """What there is of this process's; and of this sandbox's in the file system and among the control groups."""
    me = psutil.Process()
    folders = []
    if sandbox is not None and sandbox._groups:
        folders += [
            Path(f"/proc/self/fd/{parent}").resolve() / name for parent, name in sandbox._groups.parent_fds
        ]
    if sandbox is not None and sandbox._base:
        folders.append(sandbox._base[0])
    segments = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    users = set(sandbox._uids) if sandbox is not None else set()
    return {
        "processes": len(me.children(recursive=True)),
        "descriptors": me.num_fds(),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "groups and work directories": sum(
            1 for folder in folders for path in folder.rglob("*") if path.is_dir()
        ),
        "shared memory": sum(1 for line in segments if int(line.split()[7]) in users),
    }


def _settled(expected, sandbox=None):
    """Processes 1 of the last runs may be leaving."""
    give_up = time.monotonic() + 20
    while (now := _count(sandbox)) != expected and time.monotonic() < give_up:
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
    with Sandbox.open(SandboxSettings.model_validate(TIERS[name])) as sandbox:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: sandbox.run("python", PROGRAMS[n % 8], b"x\n", limits), range(64)))
        gc.collect()
        warm = _settled(before, sandbox)
        rss = psutil.Process().memory_info().rss
        verdicts: dict[str, int] = {}
        with ThreadPoolExecutor(4) as pool:
            for outcome in pool.map(
                lambda n: sandbox.run("python", PROGRAMS[n % 40 if n % 40 < 8 else n % 2], b"x\n", limits),
                range(runs),
            ):
                verdicts[outcome.verdict] = verdicts.get(outcome.verdict, 0) + 1
        gc.collect()
        after = _settled(warm, sandbox)
        grown = psutil.Process().memory_info().rss - rss
    print(name, verdicts, "before", before, "warm", warm, "after", after, f"memory {grown / 2**20:+.1f} MiB")
    assert sum(verdicts.values()) == runs
    assert "sandbox_error" not in verdicts
    # Control groups are kept for as many runs as there ever were at once, those just leaving included.
    for kept in ("descriptors", "groups and work directories"):
        assert after.pop(kept) - warm.pop(kept) <= 5 * 24
    assert after == warm
    assert grown < 32 << 20
    assert _settled(before) == before
