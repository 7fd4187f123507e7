"""`grpo reward-model`: the config. Defaults are R1's (arXiv 2501.12948 v2 §3.1), sources beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from data_recipes.config import BadRowsMode
from grpo.config.sections import OptimizerConfig
from grpo.config.supervised import SupervisedConfig
from policies.settings import Settings


class RewardModelData(Settings):
    """Judged completions, in a .jsonl, .jsonl.gz or .parquet file."""

    source: str = Field(min_length=1)
    """Pairwise: columns prompt, chosen, rejected. Point-wise: prompt, completion, label (1 good, 0 bad)."""
    reads: Literal["auto", "summary", "response"] = "auto"
    """"auto": pairwise reads the summary after `</think>`, point-wise the whole response (R1: helpful, safety)."""
    bad_rows: BadRowsMode = "error"
    """What rows that cannot be used do: stop the stage, or be left out and counted."""
    max_tokens: int = Field(8192, ge=2)
    """Longer examples are left out and counted (R1: 8,192 in training; when asked, no limit but the context)."""

    @field_validator("source")
    @classmethod
    def _file(cls, value: str) -> str:
        if not value.endswith((".jsonl", ".jsonl.gz", ".parquet")):
            raise ValueError("expected a .jsonl, .jsonl.gz or .parquet file; `grpo pairs` writes one")
        return value


class RewardModelOptimizer(OptimizerConfig):
    """AdamW."""

    lr: float = Field(6e-6, gt=0)
    """R1: 6e-6."""


class RewardModelConfig(SupervisedConfig):
    """`grpo reward-model`."""

    stage: Literal["reward-model"] = "reward-model"
    objective: Literal["pairwise", "pointwise"]
    """"pairwise": −log σ(r_chosen − r_rejected), R1's helpful model; "pointwise": binary cross entropy, its safety
    model."""
    data: RewardModelData
    batch_size: int = Field(256, ge=1)
    """R1: 256."""
    epochs: int = Field(1, ge=1)
    """R1: 1."""
    optimizer: RewardModelOptimizer = RewardModelOptimizer()

    @property
    def reads(self) -> Literal["summary", "response"]:
        """What of a completion is scored."""
        if self.data.reads != "auto":
            return self.data.reads
        return "summary" if self.objective == "pairwise" else "response"

    @property
    def model_dir(self) -> Path:
        """The trained reward model's folder."""
        return self.run_dir / "policy"
