"""`grpo distill`: the config: SFT of a student on a teacher's rows, with R1's values (2501.12948 v2 §B.4.3)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from grpo.config.sft import SftOptimizer, SftSettings


class DistillOptimizer(SftOptimizer):
    """AdamW."""

    lr: float | None = Field(None, gt=0)  # type: ignore[assignment]
    """None: the preset's. Cosine to a tenth of it."""


class DistillConfig(SftSettings):
    """`grpo distill`. `policy.model` is the student, `data` what the teacher wrote, e.g. a Parquet of `grpo curate`."""

    stage: Literal["distill"] = "distill"
    preset: Literal["auto", "qwen-1.5b", "qwen-7b", "llama-8b", "qwen-14b", "qwen-32b", "llama-70b"] = "auto"
    """Which of the paper's students gives the learning rate. "auto": the nearest in size, of the student's own family
    if the paper has it; printed with its source."""
    batch_size: int = Field(64, ge=1)
    """R1: 64."""
    optimizer: DistillOptimizer = DistillOptimizer()
