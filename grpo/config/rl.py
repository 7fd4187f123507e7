"""Config of `grpo rl`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from data_recipes.config import DatasetConfig, MixSource
from grpo.config.algorithm import AlgorithmConfig
from grpo.config.best import BestConfig
from grpo.config.mtp import MtpInRl
from grpo.config.router import OFF, RouterConfig, refuse_together
from grpo.config.sections import (
    CheckpointConfig,
    EvalConfig,
    GuardConfig,
    LearnerConfig,
    OptimizerConfig,
    PolicyConfig,
    SamplingConfig,
    TrackerNames,
    settled,
)
from policies.settings import Identity, Length, Operational, Settings
from rewards.config import AuditConfig, RewardConfig
from rollout.config import EngineConfig


class RlConfig(Settings):
    """Config of `grpo rl`."""

    stage: Identity[Literal["rl"]] = "rl"
    """Marks a recipe of `grpo rl`."""
    seed: Identity[int] = 0
    """Seed of the order of prompts, of every sample and of the split into mini-batches."""
    steps: Length[int] = Field(ge=1)
    """Number of optimizer updates; a multiple of algorithm.mini_batches."""
    token_budget: Length[int | None] = Field(None, ge=1)
    """Ends the run earlier, after the phase in which it has trained on this many completion tokens: to compare runs, or
    RL with distillation, at equal tokens."""
    run_dir: Operational[Path]
    """Folder of the run: metrics, samples, checkpoints, report and at the end policy/."""
    policy: PolicyConfig
    data: DatasetConfig
    """The prompts to train on."""
    data_share: Identity[int] = Field(1, ge=1)
    """Questions taken from `data` along with `share` of each source in `mix`; used only with a mix."""
    mix: tuple[MixSource, ...] = ()
    """Further sources, e.g. general prompts with constants = { kind = "general" } beside maths."""
    rewards: tuple[RewardConfig, ...] = Field(min_length=1)
    """The components of the reward; the total is their weighted sum."""
    reward_workers: Operational[int] = Field(1, ge=1)
    """Processes of each row-wise reward that runs in processes, i.e. the number of rows scored concurrently."""
    audit: AuditConfig = AuditConfig()
    """What the monitor watches in the rewards during training."""
    algorithm: AlgorithmConfig = AlgorithmConfig()
    sampling: SamplingConfig = SamplingConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    engine: EngineConfig = EngineConfig()
    learner: LearnerConfig = LearnerConfig()
    router: RouterConfig = OFF
    mtp: Identity[MtpInRl] = "stale"
    """Layers of multi-token prediction, if the policy has such: "stale" keeps them as they came and says so in the
    export's config.json (mtp_state) and README; "train" trains them alone on the sampled completions, beside the
    policy; "drop" leaves them out."""
    placement: Operational[Literal["auto", "colocated", "disaggregated"]] = "auto"
    """"colocated": learner ranks share the engines' GPUs and take turns; "disaggregated": every actor has a GPU of its
    own, or engines and learner have different nodes of a cluster without GPUs. "auto" is disaggregated where the GPUs
    suffice, else colocated."""
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    guards: GuardConfig = GuardConfig()
    best: BestConfig | None = None
    """Which checkpoint is the best, and early stop; without the section the last counts and no run ends early."""
    trackers: Operational[TrackerNames] = ("tensorboard",)
    """Where the metrics are shown: tensorboard, wandb, mlflow, trackio, or a "module:Class" of your own. Project,
    server and offline mode are set by each one's own environment variables (docs/tracking.md)."""

    @model_validator(mode="after")
    def _right_answers(self) -> RlConfig:
        # Frozen fields are set like this while they are validated, and never later.
        object.__setattr__(self, "eval", settled(self.eval, self.rewards))
        return self

    @model_validator(mode="after")
    def _fit_together(self) -> RlConfig:
        refuse_together(self.policy, self.router)
        if self.policy.lora is not None and self.mtp == "train":
            raise ValueError('with policy.lora nothing but the adapters moves; set mtp to "stale" or "drop"')
        return self

    @model_validator(mode="after")
    def _whole_phases(self) -> RlConfig:
        if self.steps % self.algorithm.mini_batches:
            raise ValueError(
                f"steps = {self.steps} is not a multiple of algorithm.mini_batches = {self.algorithm.mini_batches}"
            )
        return self
