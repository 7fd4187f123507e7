"""The learner ranks of an RL run: what each rank holds, and `grpo.rl.loop`'s Learners over Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from grpo.algorithm.types import StepReport, TrainGroup
from grpo.cluster.actor import RankPosition
from grpo.cluster.ranks import RankGroup
from grpo.cluster.ray_session import put
from grpo.common.console import say
from grpo.config.rl import RlConfig
from grpo.rl.loop import LoopState
from rollout.canary import Canary
from rollout.publication import Publication
from rollout.weight_folders import WeightFolders

if TYPE_CHECKING:
    from grpo.training.learner import Learner


@dataclass(frozen=True)
class PublishSettings:
    """How rank 0 hands weights to the engines."""

    roots: tuple[Path, ...]
    """Where weights may be published, best first (`rollout.weight_folders.publication_roots`)."""
    wire_dtype: str
    """Name of the engines' torch dtype."""
    inline: bool
    """Publish the bytes themselves, for engines on other nodes."""
    canaries: tuple[tuple[int, ...], ...]
    """Prompts whose log-probs prove each sync."""


@dataclass(frozen=True)
class RlLearnerFactory:
    """Makes the learner of a rank; picklable."""

    config: RlConfig
    """The run's, with policy.compute_dtype resolved."""
    model_dir: Path
    """As every node sees it."""
    publish: PublishSettings

    def __call__(self, position: RankPosition) -> PublishingLearner:
        """Load the policy.

        Raises:
            PolicyError: the folder cannot be loaded.
        """
        from grpo.training.learner import Learner

        config = self.config
        learner = Learner(
            policy=config.policy,
            algorithm=config.algorithm,
            optimizer=config.optimizer,
            learner=config.learner,
            model_path=self.model_dir,
            total_steps=config.steps,
            rank=position.rank,
            device=position.device,
            seed=config.seed,
        )
        return PublishingLearner(learner, self.publish, is_first=position.rank == 0)


class PublishingLearner:
    """A `Learner` that publishes its weights."""

    def __init__(self, learner: Learner, settings: PublishSettings, is_first: bool) -> None:
        self._learner, self._settings, self._is_first = learner, settings, is_first
        self._folders = WeightFolders(settings.roots)
        self.begin_phase = learner.begin_phase
        self.update = learner.update
        self.load = learner.load
        self.save = learner.save
        self.export = learner.export

    def publish(self, version: int) -> Publication | None:
        """Write the weights as this version, with digests and canary log-probs.

        Every rank takes part in gathering the tensors; the first one writes, and the others return None.

        Raises:
            NoRoomForWeights: they fit nowhere on this node.
        """
        import torch

        from rollout.weights import publish

        settings = self._settings
        tensors = [item for item in self._learner.named_tensors() if self._is_first]
        dtype = getattr(torch, settings.wire_dtype)
        canary = [Canary(ids, self._learner.canary_logprobs(ids)) for ids in settings.canaries]
        if not self._is_first:
            return None
        if settings.inline:
            return publish(tensors, version, None, dtype, canary, inline=True)
        return self._folders.publish(tensors, version, dtype, canary)

    def close(self) -> None:
        """Remove what was published."""
        self._folders.close()


class LearnerGroup(RankGroup):
    """All learner ranks, seen from the loop (`grpo.rl.loop.Learners`)."""

    _place: Path | None = None
    """Folder of the last publication."""

    def begin_phase(self, groups: Sequence[TrainGroup], step: int, temperature: float) -> dict[str, float]:
        """Fix old and reference log-probs of the phase; see `Learner.begin_phase`."""
        metrics: dict[str, float] = self.call_all("begin_phase", put(list(groups)), step, temperature)
        return metrics

    def update(self, mini_batch: Sequence[TrainGroup], step: int, max_tokens: int) -> StepReport:
        """Make one optimizer update; see `Learner.update`."""
        report: StepReport = self.call_all("update", put(list(mini_batch)), step, max_tokens)
        return report

    def publish(self, version: int) -> Publication:
        """Have the ranks publish their weights as this version; says where, once, if that is not shared memory."""
        publication: Publication = self.call_all("publish", version)
        place = Path(publication.path).parent if publication.path else None
        if publication.note and place != self._place:
            say(f"[yellow]note[/] {escape(publication.note)}")
        self._place = place
        return publication

    def save(self, state: LoopState, protected: Sequence[int]) -> None:
        """Have rank 0 write a checkpoint, and delete old ones but the protected."""
        self.save_checkpoint(state.step, state.extra(), protected)
