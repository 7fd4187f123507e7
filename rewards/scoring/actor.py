"""The shell that a Ray actor runs. A plain class: `ray.remote` is applied where it is started
(grpo/cluster/handles.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from rewards.config import AuditConfig, RewardConfig
from rewards.scoring.scorer import Scorer
from rewards.types import ScoredGroup
from rollout.types import SampleGroup


class RewardWorker:
    """A started `Scorer` behind actor calls: `submit` returns at once, so that all groups submitted so far share the
    reward processes. Raises RewardLoadError when made.
    """

    def __init__(
        self,
        rewards: Sequence[RewardConfig],
        workers: int = 1,
        log_dir: Path | None = None,
        audit: AuditConfig | None = None,
    ) -> None:
        self._scorer = Scorer(rewards, workers, log_dir, audit)
        self._scorer.start()
        self._submitted = 0
        self._running: dict[int, Future[list[ScoredGroup]]] = {}

    def submit(self, groups: Sequence[SampleGroup], stage: str, step: int) -> int:
        """Start scoring; returns a number for `take`. Calls are started in the order in which they arrive."""
        self._submitted += 1
        self._running[self._submitted] = self._scorer.submit(groups, stage, step)
        return self._submitted

    def take(self, ticket: int) -> list[ScoredGroup]:
        """Wait for what `submit` started; see `Scorer.score`. Each ticket can be taken once, from any thread."""
        return self._running.pop(ticket).result()

    def close(self) -> None:
        """End the reward processes; calls that are still running get errors."""
        self._scorer.close()
