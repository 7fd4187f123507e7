"""Config of `grpo sft`. Defaults are those of R1's two SFT stages (arXiv 2501.12948 v2 §B.4.2), with their sources."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data_recipes.sft.config import SftSource
from grpo.config.mtp import MtpConfig
from grpo.config.sections import OptimizerConfig, PolicyConfig
from grpo.config.supervised import SupervisedConfig
from policies.settings import Identity, Length


class SftOptimizer(OptimizerConfig):
    """AdamW with R1's schedule."""

    lr: Identity[float] = Field(5e-5, gt=0)
    """R1: 5e-5, decaying to 5e-6. Distillation: by size of the student (docs/sft.md). V3: 5e-6, decaying to 1e-6."""
    schedule: Identity[Literal["constant", "linear", "cosine"]] = "cosine"
    min_lr_ratio: Identity[float] = Field(0.1, ge=0, le=1)
    """Ratio of the final learning rate to lr (R1: 0.1, for SFT and distillation alike)."""


class StudentPolicy(PolicyConfig, paths=("chat_template",)):
    """The policy that is taught, with what a base may lack."""

    max_positions: Identity[int | None] = Field(None, ge=1)
    """Positions that the policy has from now on, if its config says fewer than the examples and its later replies need
    (R1's students of Qwen2.5-Math: 131,072 for 4,096, with the same RoPE base). It is exported with the policy."""
    chat_template: Identity[str | None] = None
    """Chat template for a base without one, also exported: "deepseek-v2", or a file of Jinja text."""


class SftSettings(SupervisedConfig):
    """Keys that `grpo sft` and `grpo distill` share."""

    policy: StudentPolicy
    data: SftSource
    mix: tuple[SftSource, ...] = ()
    """Further sources; all examples of all sources are shuffled together."""
    max_tokens: Identity[int] = Field(32768, ge=2)
    """Maximum example length in tokens (R1's context: 32,768), or the policy's own context if that is shorter. A longer
    example is left out whole and counted: truncated, it would teach the policy never to end."""
    batch_size: Identity[int] = Field(128, ge=1)
    """Examples per update (R1: 128; distillation 64)."""
    epochs: Length[int] = Field(2, ge=1)
    """Passes over the data (R1: 2 to 3; v1 of the paper: 2)."""
    mtp: MtpConfig = MtpConfig()
    optimizer: SftOptimizer = SftOptimizer()


class SftConfig(SftSettings):
    """Config of `grpo sft`."""

    stage: Identity[Literal["sft"]] = "sft"
    """Marks a recipe of `grpo sft`."""
