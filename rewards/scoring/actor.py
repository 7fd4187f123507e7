"""The shell that a Ray actor runs. A plain class: `ray.remote` is applied where it is started
(grpo/cluster/handles.py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rewards.config import AuditConfig, RewardConfig
from rewards.scoring.scorer import Scorer
from rewards.types import ScoredGroup
from rollout.types import SampleGroup


class RewardWorker:
    """A started `Scorer` behind actor calls. Raises RewardLoadError when made."""

    def __init__(
        self,
        rewards: Sequence[RewardConfig],
        workers: int = 1,
        log_dir: Path | None = None,
        audit: AuditConfig | None = None,
    ) -> None:
        self._scorer = Scorer(rewards, workers, log_dir, audit)
        self._scorer.start()

    def score(self, groups: Sequence[SampleGroup], stage: str, step: int) -> list[ScoredGroup]:
        """See `Scorer.score`."""
        return self._scorer.score(groups, stage, step)

    def close(self) -> None:
        """End the reward processes."""
        self._scorer.close()
