"""Memory goes back to the system, and only that which was to go."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest
import torch

from rollout.memory import forget, release, trim

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is given back")
MIB = 2**20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def test_forgotten_tensors_hold_no_pages_and_can_be_used_again() -> None:
    tensor = torch.ones(64 * MIB, dtype=torch.uint8)
    before = resident()
    forget([tensor])
    assert before - resident() > 60 * MIB
    assert int(tensor[mmap.PAGESIZE : -mmap.PAGESIZE].sum()) == 0
    tensor.fill_(3)
    assert int(tensor.sum()) == 3 * tensor.numel()


@pytest.mark.parametrize("length", [1, 64, 4095, 4096, 4097, 9000])
def test_neighbours_keep_their_bytes(length: int) -> None:
    """Small tensors share pages with others: the allocator's blocks, and those of one storage."""
    neighbours = [torch.full((length,), 7, dtype=torch.uint8) for _ in range(64)]
    forget(neighbours[1::2])
    assert all(bool((tensor == 7).all()) for tensor in neighbours[::2])


def test_a_view_stands_for_its_whole_storage() -> None:
    storage = torch.ones(4 * MIB, dtype=torch.uint8)
    forget([storage.view(2, -1)[1]])
    assert int(storage.sum()) <= 2 * mmap.PAGESIZE


def test_trim_returns_what_was_freed() -> None:
    pieces = [torch.ones(100 * 1024, dtype=torch.uint8) for _ in range(1000)]
    last = torch.ones(100 * 1024, dtype=torch.uint8)
    del pieces
    before = resident()
    trim()
    assert before - resident() > 50 * MIB
    assert int(last.sum()) == last.numel()


def test_release_does_both_on_a_cpu() -> None:
    pieces = [torch.ones(100 * 1024, dtype=torch.uint8) for _ in range(1000)]
    cache, last = torch.ones(64 * MIB, dtype=torch.uint8), torch.ones(100 * 1024, dtype=torch.uint8)
    del pieces
    before = resident()
    release(torch.device("cpu"), unused=[cache])
    assert before - resident() > 110 * MIB
    assert int(last.sum()) == last.numel()


def test_release_leaves_the_host_alone_where_a_device_computes() -> None:
    cache = torch.ones(4 * MIB, dtype=torch.uint8)
    release(torch.device("cuda"), unused=[cache])
    assert int(cache.sum()) == cache.numel()
