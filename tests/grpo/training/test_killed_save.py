"""A rank that is killed at any file operation of a checkpoint costs that checkpoint at most: no older one, no hang."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

from grpo.training.checkpoint import find_error, latest, save_checkpoint
from grpo.training.collectives import RankTeam
from grpo.training.shard_files import Shard, load_shards, save_shards
from policies.tensor_files import Region
from tests.processes import meet

RANKS, ROWS = 3, 5
"""Rank r holds rows r·5 to r·5 + 5 of one tensor."""
POINTS = [(0, n) for n in range(1, 43)] + [(rank, n) for rank in (1, RANKS - 1) for n in range(1, 7)]
"""(rank, file operation) to kill at; the first rank makes most of them."""
OPERATIONS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.listdir", "os.scandir")
DEADLINE_S = 60.0


def shard(rank: int, rows: int, step: int) -> Shard:
    part = torch.arange(rank * ROWS, rank * ROWS + rows).float() + 100 * step
    return Shard("weight", part, Region((rank * ROWS,), (rows,)), (RANKS * ROWS,), is_first_copy=True)


def save(root: Path, rank: int, step: int) -> None:
    team = RankTeam(rank, RANKS, "cpu")

    def write(folder: Path) -> None:
        save_shards(folder, "optimizer", [shard(rank, ROWS, step)], rank, RANKS)

    save_checkpoint(root, step, {"cursor": 7 * step}, write, keep=1, team=team)


def die_at(operation: int) -> None:
    """Kill this process at its n-th file operation from now on, counted from 1; at none with 0."""
    seen = 0

    def watch(name: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if name in OPERATIONS:
            seen += 1
            if seen == operation:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def ranks(work: Callable[[int], None]) -> list[int]:
    """Run work(rank) in a process for each rank; returns their exit codes, −9 of one that was killed."""
    with tempfile.TemporaryDirectory() as folder:
        pids = [forked(work, rank, Path(folder) / "store") for rank in range(RANKS)]
        codes: dict[int, int] = {}
        deadline = time.monotonic() + DEADLINE_S
        while len(codes) < RANKS:
            for pid in set(pids) - codes.keys():
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    codes[pid] = os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                for pid in set(pids) - codes.keys():
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                raise AssertionError(f"{RANKS - len(codes)} ranks hang")
            time.sleep(0.005)
        return [codes[pid] for pid in pids]


def forked(work: Callable[[int], None], rank: int, store: Path) -> int:
    """Start work(rank) in a process that has met the others; returns its id."""
    if (pid := os.fork()) != 0:
        return pid
    code = 1
    try:
        torch.set_num_threads(1)
        meet(rank, RANKS, store, DEADLINE_S)
        work(rank)
        code = 0
    except RuntimeError:  # what a collective raises when a rank has gone
        code = 2
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def whole(root: Path, step: int) -> None:
    """Check that a checkpoint is whole and holds its step's values, read by one rank."""
    found = latest(root)
    assert found is not None
    assert (found.step, found.extra) == (step, {"cursor": 7 * step})
    back = shard(0, RANKS * ROWS, 0)
    load_shards(found.path, "optimizer", [back])
    assert torch.equal(back.part, torch.arange(RANKS * ROWS).float() + 100 * step)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("first") / "checkpoints"
    assert ranks(lambda rank: save(root, rank, 1)) == [0] * RANKS
    whole(root, 1)
    return root


@settings(max_examples=15)
@given(point=st.sampled_from(POINTS))
def test_a_killed_rank_loses_nothing_that_was_whole(first: Path, point: tuple[int, int]) -> None:
    victim, operation = point
    root = Path(tempfile.mkdtemp(dir=first.parent)) / "checkpoints"
    shutil.copytree(first, root)

    def work(rank: int) -> None:
        if rank == victim:
            die_at(operation)
        save(root, rank, 2)

    codes = ranks(work)
    killed = codes[victim] == -signal.SIGKILL
    event(f"killed: {killed}")
    assert all(code in ((0, 2) if killed else (0,)) for r, code in enumerate(codes) if r != victim), codes
    found = latest(root)
    assert found is not None, "the older checkpoint is gone"
    if all(code == 0 for code in codes):
        assert found.step == 2
    event(f"newest: {found.step}")
    whole(root, found.step)
    assert all(find_error(path) is None for path in root.glob("step-*"))

    # The next run goes on there, and leaves nothing of the broken save behind.
    assert ranks(lambda rank: save(root, rank, 3)) == [0] * RANKS
    whole(root, 3)
    assert [path.name for path in root.iterdir()] == ["step-000003"]
