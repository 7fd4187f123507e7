"""`grpo eval`: the config. Sections of `grpo rl` without what only training reads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from grpo.config.sample import refuse_start_steps, refuse_training_keys
from grpo.config.sections import EvalConfig, PolicyConfig, SamplingConfig
from policies.settings import Settings
from rewards.config import RewardConfig
from rollout.config import EngineConfig


class EvalStageConfig(Settings):
    """`grpo eval`."""

    stage: Literal["eval"] = "eval"
    seed: int = 0
    run_dir: Path
    """Where eval.jsonl, the samples and summary.json go."""
    policy: PolicyConfig
    rewards: tuple[RewardConfig, ...] = Field(min_length=1)
    reward_workers: int = Field(1, ge=1)
    """Processes of each row-wise reward that runs in processes: so many rows are scored at one time."""
    sampling: SamplingConfig = SamplingConfig()
    """Read for stop_tokens, and for max_tokens where eval.max_tokens is not given."""
    engine: EngineConfig = EngineConfig()
    eval: EvalConfig

    @model_validator(mode="after")
    def _has_data(self) -> EvalStageConfig:
        if self.eval.data is None:
            raise ValueError("an evaluation needs data: add a section [eval.data]")
        return self

    @model_validator(mode="after")
    def _nothing_of_training(self) -> EvalStageConfig:
        refuse_training_keys(self.policy)
        refuse_start_steps(self.rewards)
        if self.eval.every_steps:
            raise ValueError("eval.every_steps is read in training only; leave it out")
        return self
