"""Config shared by all supervised stages (SFT, reward models), which pass over a data set in batches.

A stage's own config adds `stage`, its data, and the paper's values as defaults of `optimizer`.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from grpo.config.best import BestConfig
from grpo.config.router import OFF, RouterConfig, refuse_together
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig, TrackerNames
from policies.settings import Identity, Length, Operational, Settings


class SupervisedCheckpointConfig(Settings):
    """What is saved so that a run survives a crash."""

    every_steps: Operational[int] = Field(100, ge=1)
    """Updates between checkpoints."""
    keep: Operational[int] = Field(2, ge=1)
    """Number of newest checkpoints that are kept."""


class SupervisedEvalConfig(Settings):
    """Held-out loss, computed before the first update, at regular intervals, and after the last update."""

    every_steps: Operational[int] = Field(0, ge=0)
    """Updates between evaluations; 0: only before the first and after the last update."""
    holdout: Identity[int] = Field(0, ge=0)
    """Number of examples held out of the training data, drawn with the run's seed."""


class SupervisedConfig(Settings):
    """Keys of every supervised stage."""

    seed: Identity[int] = Field(0, ge=0)
    """Seed of the order of examples and of randomly initialised weights."""
    run_dir: Operational[Path]
    """Folder of the run: metrics, checkpoints, report and at the end policy/."""
    policy: PolicyConfig
    epochs: Length[int] = Field(2, ge=1)
    """Passes over the data."""
    max_steps: Length[int | None] = Field(None, ge=1)
    """Stop after this many updates if the epochs have more; the schedule ends there too."""
    batch_size: Identity[int] = Field(128, ge=1)
    """Examples per update, over all ranks. The last batch of a run may be smaller."""
    optimizer: OptimizerConfig = OptimizerConfig()
    learner: LearnerConfig = LearnerConfig()
    router: RouterConfig = OFF
    eval: SupervisedEvalConfig = SupervisedEvalConfig()
    checkpoint: SupervisedCheckpointConfig = SupervisedCheckpointConfig()
    best: BestConfig | None = None
    """Which checkpoint is the best, and early stop; without the section the last counts and no run ends early."""
    trackers: Operational[TrackerNames] = ("tensorboard",)
    """Where the metrics are shown: tensorboard, wandb, mlflow, trackio, or a "module:Class" of your own. Project,
    server and offline mode are set by each one's own environment variables (docs/tracking.md)."""

    @model_validator(mode="after")
    def _fit_together(self) -> SupervisedConfig:
        refuse_together(self.policy, self.router)
        return self
