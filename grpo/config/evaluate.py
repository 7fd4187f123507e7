"""Config of `grpo eval`: the sections of `grpo rl` without the keys that only training reads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from grpo.config.sample import refuse_start_steps, refuse_training_keys
from grpo.config.sections import EvalConfig, PolicyConfig, SamplingConfig, settled
from policies.settings import Identity, Operational, Settings
from rewards.config import RewardConfig
from rollout.config import EngineConfig


class EvalStageConfig(Settings):
    """Config of `grpo eval`."""

    stage: Identity[Literal["eval"]] = "eval"
    """Marks a recipe of `grpo eval`."""
    seed: Identity[int] = 0
    """Seed of every sample."""
    run_dir: Operational[Path]
    """Folder for eval.jsonl, the samples and summary.json."""
    policy: PolicyConfig
    rewards: tuple[RewardConfig, ...] = Field(min_length=1)
    """The rewards that judge the completions; eval.correct names the one that decides."""
    reward_workers: Operational[int] = Field(1, ge=1)
    """Processes of each row-wise reward that runs in processes, i.e. the number of rows scored concurrently."""
    sampling: SamplingConfig = SamplingConfig()
    """Gives stop_tokens, and max_tokens if eval.max_tokens is not set."""
    engine: EngineConfig = EngineConfig()
    eval: EvalConfig = EvalConfig()

    @model_validator(mode="after")
    def _has_data(self) -> EvalStageConfig:
        if self.eval.data is None:
            raise ValueError("an evaluation needs data: add a section [eval.data]")
        return self

    @model_validator(mode="after")
    def _right_answers(self) -> EvalStageConfig:
        # Frozen fields are set like this while they are validated, and never later.
        object.__setattr__(self, "eval", settled(self.eval, self.rewards))
        return self

    @model_validator(mode="after")
    def _nothing_of_training(self) -> EvalStageConfig:
        refuse_training_keys(self.policy)
        refuse_start_steps(self.rewards)
        if self.eval.every_steps:
            raise ValueError("eval.every_steps is read in training only; leave it out")
        return self
