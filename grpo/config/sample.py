"""Config of `grpo sample`: the sections of `grpo rl`, without schedules, because nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from data_recipes.config import DatasetConfig
from grpo.config.sections import PolicyConfig
from policies.settings import Identity, Operational, Settings
from rewards.config import RewardConfig
from rollout.config import EngineConfig


class SampleSamplingConfig(Settings):
    """How completions are sampled."""

    temperature: Identity[float] = Field(1.0, ge=0)
    """R1 samples its cold start and its rejection sampling at 1."""
    top_p: Identity[float] = Field(1.0, gt=0, le=1)
    """Nucleus: the smallest set of tokens with this probability is sampled from; 1: all."""
    max_tokens: Identity[int] = Field(1024, ge=1)
    """Longest completion, in tokens."""
    stop_tokens: Identity[tuple[str, ...]] = ()
    """Tokens that end a completion in addition to the tokenizer's EOS, each one token of the vocabulary."""


class SampleConfig(Settings):
    """Config of `grpo sample`."""

    stage: Identity[Literal["sample"]] = "sample"
    """Marks a recipe of `grpo sample`."""
    seed: Identity[int] = Field(0, ge=0)
    """Seed of every sample."""
    run_dir: Operational[Path]
    """Folder of the run; samples.parquet is its result."""
    policy: PolicyConfig
    data: DatasetConfig
    """The prompts to sample."""
    mix: tuple[DatasetConfig, ...] = ()
    """Further sources; every prompt of every source is sampled."""
    rewards: tuple[RewardConfig, ...] = ()
    """Rewards that score the samples; empty: no scores."""
    reward_workers: Operational[int] = Field(1, ge=1)
    """Processes of each row-wise reward that runs in processes, i.e. the number of rows scored concurrently."""
    samples: Identity[int] = Field(4, ge=1)
    """Completions per prompt."""
    sampling: SampleSamplingConfig = SampleSamplingConfig()
    keep_columns: Identity[tuple[str, ...]] = ()
    """Further prompt columns to write beside the samples, as text (other values as JSON)."""
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _nothing_of_training(self) -> SampleConfig:
        refuse_training_keys(self.policy)
        refuse_start_steps(self.rewards)
        return self


def refuse_training_keys(policy: PolicyConfig) -> None:
    """Raise ValueError for keys of the section that only training reads."""
    if policy.lora is not None:
        raise ValueError("policy.lora is read in training only; leave it out")


def refuse_start_steps(rewards: Sequence[RewardConfig]) -> None:
    """Raise ValueError for a reward with a start step, because sampling has no steps."""
    for reward in rewards:
        if reward.start_step:
            raise ValueError(f"{reward.name}: start_step = {reward.start_step}, but there are no steps here")
