"""What a learner on a CPU keeps of the shapes that it has met."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
from pathlib import Path
from grpo.cluster.actor import join_ranks
if join_ranks(0, 1, 1, None) != "cpu":
    raise SystemExit(3)
import torch

def resident():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmRSS")) // 1024

weight = torch.randn(256, 256, dtype=torch.bfloat16)
before = 0
for length in (1, *range(64, 864)):
    torch.nn.functional.linear(torch.randn(length, 256, dtype=torch.bfloat16), weight)
    before = before or resident()
print(resident() - before)
"""


def test_kernels_of_lengths_that_do_not_come_again_are_let_go() -> None:
    """800 lengths: by default about 570 MiB of kernels on a CPU with AMX, 80 with bounded caches."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("the learner computes on a GPU here")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200
