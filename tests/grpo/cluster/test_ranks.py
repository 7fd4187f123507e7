"""The rank actor and its group on a real local Ray, with a learner of a few lines."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest

from grpo.cluster.actor import RankPosition
from grpo.cluster.ranks import RankGroup, start_ranks
from grpo.cluster.ray_session import connect, put
from grpo.common.errors import BrokenRun, RunError
from grpo.training.checkpoint import latest
from policies.errors import PolicyError

pytestmark = [pytest.mark.ray]


@dataclass(frozen=True)
class Factory:
    """Makes a `Counter`; one rank may fail."""

    traces: Path
    broken_rank: int = -1

    def __call__(self, position: RankPosition) -> Counter:
        if position.rank == self.broken_rank:
            raise PolicyError("no weights here")
        return Counter(position, self.traces)


class Counter:
    """Adds up what it is given, over all ranks."""

    def __init__(self, position: RankPosition, traces: Path) -> None:
        self._position, self._traces, self._total = position, traces, 0

    def add(self, values: list[int], factor: int) -> tuple[int, int]:
        """(rank, what all ranks have added so far)."""
        import torch

        self._total += factor * sum(values)
        everywhere = torch.tensor(self._total)
        if self._position.world_size > 1:
            torch.distributed.all_reduce(everywhere)
        return self._position.rank, int(everywhere)

    def fail(self, kind: str) -> None:
        """Raise an exception, or end the process."""
        if kind == "exit":
            os._exit(7)
        if kind == "last exits" and self._position.rank == self._position.world_size - 1:
            os._exit(7)
        if kind == "last hangs" and self._position.rank == self._position.world_size - 1:
            time.sleep(60)
        if kind.startswith("last"):
            torch = import_module("torch")
            work = torch.distributed.all_reduce(torch.zeros(1), async_op=True)
            work.wait(timedelta(seconds=2))
        raise {"ours": RunError, "foreign": KeyError}[kind](f"rank {self._position.rank}")

    def load(self, folder: Path) -> None:
        self._total = int((folder / "total").read_text())

    def save(self, folder: Path) -> None:
        if self._position.rank == 0:
            (folder / "total").write_text(str(self._total))

    def export(self, folder: Path) -> None:
        if self._position.rank:
            return
        folder.mkdir()
        (folder / f"rank-{self._position.rank}").write_text(str(self._total))

    def close(self) -> None:
        (self._traces / f"closed-{self._position.rank}").touch()


@pytest.fixture(scope="module", autouse=True)
def _session() -> Iterator[None]:
    with connect("local"):
        yield


def group(tmp_path: Path, ranks: int, resume_from: Path | None = None, broken_rank: int = -1) -> RankGroup:
    make = Factory(tmp_path, broken_rank)
    seats = [{"num_cpus": 0, "num_gpus": 0}] * ranks
    actors = start_ranks(make, seats=seats, threads=1, resume_from=resume_from)
    return RankGroup(actors, tmp_path / "run", keep=1)


def closed(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.glob("closed-*"))


def test_calls_reach_all_ranks_and_the_first_answers(tmp_path: Path) -> None:
    ranks = group(tmp_path, 2)
    ranks.open()
    assert ranks.call_all("add", put([1, 2]), 10) == (0, 60)
    assert ranks.call_all("add", [3], 1) == (0, 66)

    ranks.save_checkpoint(5, {"cursor": 7}, ())
    ranks.save_checkpoint(6, {"cursor": 8}, ())
    checkpoint = latest(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.extra) == (6, {"cursor": 8})
    assert len(list(checkpoint.path.parent.iterdir())) == 1, "keep = 1"

    ranks.export(tmp_path / "policy", 6, 6)
    assert os.listdir(tmp_path / "policy") == ["rank-0"]
    ranks.close()
    assert closed(tmp_path) == ["closed-0", "closed-1"]

    resumed = group(tmp_path, 1, resume_from=checkpoint.path)
    resumed.open()
    assert resumed.call_all("add", [1], 1) == (0, 34)
    resumed.close()


def test_a_run_folder_that_ranks_do_not_share_is_refused_before_they_load(tmp_path: Path) -> None:
    ranks = group(tmp_path, 2)
    # A path that means another folder in each process, as one of a node's own disk does.
    descriptor = os.open(tmp_path, os.O_RDONLY)
    ranks._checkpoints = Path(f"/proc/self/fd/{descriptor}/run/checkpoints")
    with pytest.raises(
        RunError, match=r"rank 0: host \S+ has no such folder; rank 1: .* Set run_dir to a folder"
    ):
        ranks.open()
    os.close(descriptor)
    assert closed(tmp_path) == []


def test_the_best_step_is_exported_and_not_the_last(tmp_path: Path) -> None:
    ranks = group(tmp_path, 2)
    ranks.open()
    for step in (1, 2, 3):
        ranks.call_all("add", [1], 1)
        ranks.save_checkpoint(step, {}, (1,))
    ranks.call_all("add", [1], 1)
    assert sorted(os.listdir(tmp_path / "run" / "checkpoints")) == ["step-000001", "step-000003"]
    ranks.export(tmp_path / "last", 4, 4)
    with pytest.raises(BrokenRun, match=r'step-000002 cannot be exported: .*best\.export="last"'):
        ranks.export(tmp_path / "gone", 2, 4)
    assert not (tmp_path / "gone").exists()
    ranks.export(tmp_path / "best", 1, 4)
    assert (tmp_path / "last" / "rank-0").read_text() == "4"
    assert (tmp_path / "best" / "rank-0").read_text() == "1"
    ranks.close()


def test_errors_of_a_learner_and_of_its_process_are_told_apart(tmp_path: Path) -> None:
    ranks = group(tmp_path, 1)
    ranks.open()
    with pytest.raises(RunError, match=r"^rank 0$"):
        ranks.call_all("fail", "ours")
    with pytest.raises(RunError, match=r"(?s)^learner fail: .*KeyError"):
        ranks.call_all("fail", "foreign")
    with pytest.raises(RunError, match=r"^learner fail: the worker died"):
        ranks.call_all("fail", "exit")
    ranks.close()


@pytest.mark.parametrize(
    ("kind", "message"), [("last exits", "rank 1 died"), ("last hangs", "rank 1 does not answer")]
)
def test_a_rank_that_leaves_a_collective_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, message: str
) -> None:
    monkeypatch.setattr("grpo.cluster.ranks.GRACE_S", 3.0)
    monkeypatch.setattr("grpo.cluster.ranks.CLOSE_TIMEOUT_S", 1.0)
    ranks = group(tmp_path, 2)
    ranks.open()
    with pytest.raises(RunError, match=f"^learner fail: {message}"):
        ranks.call_all("fail", kind)
    ranks.close()


def test_a_rank_that_cannot_load_ends_all(tmp_path: Path) -> None:
    ranks = group(tmp_path, 2, broken_rank=1)
    with pytest.raises(PolicyError, match="no weights here"):
        ranks.open()
    assert closed(tmp_path) in ([], ["closed-0"])
    with pytest.raises(RunError, match="the worker died"):
        ranks.call_all("add", [1], 1)
