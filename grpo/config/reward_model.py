"""Config of `grpo reward-model`. Defaults are R1's (arXiv 2501.12948 v2 §3.1), with their sources."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from data_recipes.config import BadRowsMode
from grpo.config.sections import OptimizerConfig
from grpo.config.supervised import SupervisedConfig
from policies.settings import Content, Identity, Length, Settings


class RewardModelData(Settings):
    """Judged completions, in a .jsonl, .jsonl.gz or .parquet file."""

    source: Content[str] = Field(min_length=1)
    """The file. Pairwise: columns prompt, chosen, rejected. Pointwise: prompt, completion, label (1 good, 0 bad)."""
    reads: Identity[Literal["auto", "summary", "response"]] = "auto"
    """The text to read. "auto": pairwise reads the summary after `</think>`, pointwise the whole response (R1: helpful,
    safety)."""
    bad_rows: Identity[BadRowsMode] = "error"
    """Treatment of rows that cannot be used: they stop the stage, or are left out and counted."""
    max_tokens: Identity[int] = Field(8192, ge=2)
    """Longer examples are left out and counted (R1: 8,192 in training; in scoring, no limit but the context)."""

    @field_validator("source")
    @classmethod
    def _file(cls, value: str) -> str:
        if not value.endswith((".jsonl", ".jsonl.gz", ".parquet")):
            raise ValueError("expected a .jsonl, .jsonl.gz or .parquet file; `grpo pairs` writes one")
        return value


class RewardModelOptimizer(OptimizerConfig):
    """AdamW."""

    lr: Identity[float] = Field(6e-6, gt=0)
    """Learning rate (R1: 6e-6)."""


class RewardModelConfig(SupervisedConfig):
    """Config of `grpo reward-model`."""

    stage: Identity[Literal["reward-model"]] = "reward-model"
    objective: Identity[Literal["pairwise", "pointwise"]]
    """"pairwise": −log σ(r_chosen − r_rejected), R1's helpful model; "pointwise": binary cross entropy, its safety
    model."""
    data: RewardModelData
    batch_size: Identity[int] = Field(256, ge=1)
    """Examples per update (R1: 256)."""
    epochs: Length[int] = Field(1, ge=1)
    """Passes over the data (R1: 1)."""
    optimizer: RewardModelOptimizer = RewardModelOptimizer()

    @property
    def reads(self) -> Literal["summary", "response"]:
        """Return the part of a completion that is scored."""
        if self.data.reads != "auto":
            return self.data.reads
        return "summary" if self.objective == "pairwise" else "response"

    @property
    def model_dir(self) -> Path:
        """Return the trained reward model's folder."""
        return self.run_dir / "policy"
