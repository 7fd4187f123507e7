"""Config of `grpo distill`: SFT of a student on a teacher's rows, with R1's values (2501.12948 v2 §B.4.3)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from grpo.config.sft import SftOptimizer, SftSettings
from policies.settings import Identity


class DistillOptimizer(SftOptimizer):
    """AdamW with the learning rate of distillation."""

    lr: Identity[float | None] = Field(None, gt=0)  # type: ignore[assignment]
    """Initial learning rate; it decays by cosine to a tenth. None takes the preset's."""


class DistillConfig(SftSettings):
    """Config of `grpo distill`. `policy.model` is the student; `data` is the teacher's output, e.g. a Parquet file of
    `grpo curate`."""

    stage: Identity[Literal["distill"]] = "distill"
    """Marks a recipe of `grpo distill`."""
    preset: Identity[
        Literal["auto", "qwen-1.5b", "qwen-7b", "llama-8b", "qwen-14b", "qwen-32b", "llama-70b"]
    ] = "auto"
    """The paper's student that gives the learning rate. "auto": the nearest in size, of the student's own family if the
    paper has it; the choice is printed with its source."""
    batch_size: Identity[int] = Field(64, ge=1)
    """Examples per update (R1: 64)."""
    optimizer: DistillOptimizer = DistillOptimizer()
