"""The actor of one learner rank, for every trainer; `ray.remote` is applied in grpo/cluster/ranks.py.

What a rank computes is made by a factory: RL's in grpo/cluster/rl_ranks.py, the supervised stages' in
grpo/cluster/supervised_cluster.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol  # Any: what a method called by its name returns

from grpo.cluster.shared_folder import Marker, why_absent
from policies.json_types import JsonMapping
from rollout.gang import open_rendezvous
from rollout.rendezvous import Rendezvous, connect

ONEDNN_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Environment variables that torch reads at its first kernel."""


class RankLearner(Protocol):
    """What a rank holds: the trainer's own methods, called by name, and those that every trainer has."""

    def load(self, folder: Path) -> None:
        """Go on from what `save` wrote."""

    def save(self, folder: Path) -> None:
        """Write what `load` needs into an empty folder."""

    def export(self, folder: Path) -> None:
        """Write the policy for transformers and vLLM."""

    def close(self) -> None:
        """Remove what the learner keeps outside its process."""


@dataclass(frozen=True)
class RankPosition:
    """Where a rank stands, for its factory."""

    rank: int
    world_size: int
    device: str
    """"cuda" or "cpu"."""


LearnerFactory = Callable[[RankPosition], RankLearner]
"""Loads the policy on a rank; picklable."""


class RankWorker:
    """One rank. All ranks make the same calls and share out the files they write; what they publish is rank 0's."""

    def __init__(
        self, make: LearnerFactory, *, rank: int, world_size: int, threads: int, resume_from: Path | None
    ) -> None:
        """Remember what to load; `start` loads it.

        Args:
            make: makes the learner.
            rank: 0 … world_size - 1.
            world_size: number of ranks.
            threads: for torch.
            resume_from: checkpoint folder to go on from.
        """
        self._make, self._rank, self._world_size = make, rank, world_size
        self._threads, self._resume_from = threads, resume_from
        self._learner: RankLearner | None = None
        self._rendezvous: Rendezvous | None = None
        self._device = "cpu"

    def rendezvous_address(self) -> str:
        """Return the address where all ranks meet; this one listens there from now on."""
        self._rendezvous = open_rendezvous()
        return self._rendezvous.address

    def why_absent(self, marker: Marker) -> str | None:
        """Return why this rank's node cannot use the run's folder; see `grpo.cluster.shared_folder`."""
        return why_absent(marker)

    def start(self, rendezvous: str | None) -> int:
        """Meet the other ranks and load the policy; returns the process id.

        Args:
            rendezvous: rank 0's `rendezvous_address`; None with one rank.
        """
        self._device = join_ranks(self._rank, self._world_size, self._threads, rendezvous)
        learner = self._make(RankPosition(self._rank, self._world_size, self._device))
        if self._resume_from is not None:
            learner.load(self._resume_from)
        self._learner = learner
        return os.getpid()

    def call(self, method: str, *arguments: object) -> Any:
        """Return what the learner's method of this name returns.

        The types of arguments and result are the method's; the typed faces are the groups on the driver.
        """
        return getattr(self._started(), method)(*arguments)

    def save(self, root: Path, step: int, extra: JsonMapping, keep: int, protected: Sequence[int]) -> Path:
        """Write this rank's part of a checkpoint below `root`; returns its folder. See `save_checkpoint`."""
        from grpo.training.checkpoint import save_checkpoint
        from grpo.training.collectives import RankTeam

        team = RankTeam(self._rank, self._world_size, self._device)
        return save_checkpoint(root, step, extra, self._started().save, keep, protected, team).path

    def close(self) -> None:
        """Leave the group of ranks and let the learner clean up."""
        leave_ranks()
        if self._learner is not None:
            self._learner.close()

    def _started(self) -> RankLearner:
        if self._learner is None:
            raise RuntimeError(f"rank {self._rank} has not started")
        return self._learner


def join_ranks(rank: int, world_size: int, threads: int, rendezvous: str | None) -> str:
    """Set torch's threads, meet the other ranks if there are any; returns the device to compute on.

    oneDNN, and torch's layer over it, each keep 1024 compiled kernels, one for each shape they have met. Packed batches
    hardly ever have the same length twice: that is 20 MiB more a step, for nothing. 64 hold what the layers of one
    batch share, and cost no time.
    """
    for cache in ONEDNN_CACHES:
        os.environ.setdefault(cache, "64")
    import torch

    from grpo.training.sharding.mesh import COLLECTIVE_TIMEOUT_S

    torch.set_num_threads(threads)
    has_gpu = torch.cuda.is_available()
    if rendezvous is not None:
        timeout = timedelta(seconds=COLLECTIVE_TIMEOUT_S)
        torch.distributed.init_process_group(
            "nccl" if has_gpu else "gloo",
            store=connect(rendezvous, timeout),
            rank=rank,
            world_size=world_size,
            timeout=timeout,
        )
    return "cuda" if has_gpu else "cpu"


def leave_ranks() -> None:
    """End what `join_ranks` began."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
