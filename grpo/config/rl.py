"""Config of `grpo rl`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from data_recipes.config import DatasetConfig, MixSource
from grpo.config.algorithm import AlgorithmConfig
from grpo.config.sections import (
    CheckpointConfig,
    EvalConfig,
    GuardConfig,
    LearnerConfig,
    OptimizerConfig,
    PolicyConfig,
    SamplingConfig,
)
from policies.settings import Identity, Length, Operational, Settings
from rewards.config import AuditConfig, RewardConfig
from rollout.config import EngineConfig


class RlConfig(Settings):
    """Config of `grpo rl`."""

    stage: Identity[Literal["rl"]] = "rl"
    seed: Identity[int] = 0
    steps: Length[int] = Field(ge=1)
    """Number of optimizer updates; a multiple of algorithm.mini_batches."""
    token_budget: Length[int | None] = Field(None, ge=1)
    """Ends the run earlier, after the phase in which it has trained on this many completion tokens: to compare runs, or
    RL with distillation, at equal tokens."""
    run_dir: Operational[Path]
    policy: PolicyConfig
    data: DatasetConfig
    data_share: Identity[int] = Field(1, ge=1)
    """Questions taken from `data` along with `share` of each source in `mix`; used only with a mix."""
    mix: tuple[MixSource, ...] = ()
    """Further sources, e.g. general prompts with constants = { kind = "general" } beside maths."""
    rewards: tuple[RewardConfig, ...] = Field(min_length=1)
    reward_workers: Operational[int] = Field(1, ge=1)
    """Processes of each row-wise reward that runs in processes, i.e. the number of rows scored concurrently."""
    audit: AuditConfig = AuditConfig()
    """What the monitor watches in the rewards during training."""
    algorithm: AlgorithmConfig = AlgorithmConfig()
    sampling: SamplingConfig = SamplingConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    engine: EngineConfig = EngineConfig()
    learner: LearnerConfig = LearnerConfig()
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    guards: GuardConfig = GuardConfig()

    @model_validator(mode="after")
    def _whole_phases(self) -> RlConfig:
        if self.steps % self.algorithm.mini_batches:
            raise ValueError(
                f"steps = {self.steps} is not a multiple of algorithm.mini_batches = {self.algorithm.mini_batches}"
            )
        return self
