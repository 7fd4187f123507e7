"""Config of `grpo reward-model`. Defaults are R1's (arXiv 2501.12948 v2 §3.1), with their sources."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from data_recipes.config import AUTO, BadRowsMode, DatasetConfig
from grpo.config.sections import OptimizerConfig
from grpo.config.supervised import SupervisedConfig
from policies.json_types import JsonDict
from policies.settings import Content, Identity, Length, Settings


class RewardModelData(Settings, paths=("source",)):
    """Judged completions."""

    source: Content[str | tuple[str, ...]]
    """Files, a pattern, a folder, a hub name or a list of files, as in RL. Pairwise: chosen and rejected, and the
    prompt if they are not whole conversations. Pointwise: prompt, completion, label (1 good, 0 bad)."""
    subset: Identity[str | None] = None
    """Config name on the hub."""
    split: Identity[str | None] = None
    """Hub, save_to_disk: a split; None is "train"."""
    revision: Identity[str | None] = None
    """Hub: a branch, tag or commit of the data set; None is its newest state."""
    prompt_field: Identity[str] = AUTO
    """Field of the prompt, text that is rendered already or messages; a.b names the field b inside a. "auto": by the
    shape of the rows (data_recipes/shapes.py)."""
    chosen_field: Identity[str] = AUTO
    """Field of the better reply, or of the conversation that ends with it."""
    rejected_field: Identity[str] = AUTO
    """Field of the worse reply, or of the conversation that ends with it."""
    completion_field: Identity[str] = AUTO
    """Field of the labelled reply."""
    label_field: Identity[str] = AUTO
    """Field of the label."""
    tools_field: Identity[str | None] = "tools"
    """Field with the tools that the chat template shows; false leaves them out."""
    template_fields: Identity[tuple[str, ...]] = ("enable_thinking", "chat_template_kwargs")
    """Fields whose values the chat template gets as variables of these names; an object gives one variable a key."""
    chat_template_kwargs: Identity[JsonDict] = Field(default_factory=dict)
    """Variables of the chat template for all rows; they win over a row's."""
    reads: Identity[Literal["auto", "summary", "response"]] = "auto"
    """The text to read. "auto": pairwise reads the summary after `</think>`, pointwise the whole response (R1: helpful,
    safety)."""
    bad_rows: Identity[BadRowsMode] = "error"
    """Treatment of rows that cannot be used: they stop the stage, or are left out and counted."""
    max_tokens: Identity[int] = Field(8192, ge=2)
    """Longer examples are left out and counted (R1: 8,192 in training; in scoring, no limit but the context)."""

    @property
    def rows(self) -> DatasetConfig:
        """The source as a config of `data_recipes.prompts.rows.read_rows`."""
        return DatasetConfig(source=self.source, subset=self.subset, split=self.split, revision=self.revision)

    @property
    def given(self) -> dict[str, str]:
        """Role → field, of the keys that name one."""
        keys = {
            "prompt": self.prompt_field,
            "chosen": self.chosen_field,
            "rejected": self.rejected_field,
            "completion": self.completion_field,
            "label": self.label_field,
        }
        return {role: name for role, name in keys.items() if name != AUTO}

    @model_validator(mode="after")
    def _fits(self) -> RewardModelData:
        _ = self.rows  # checks source, subset and split against each other
        return self


class RewardModelOptimizer(OptimizerConfig):
    """AdamW."""

    lr: Identity[float] = Field(6e-6, gt=0)
    """Learning rate (R1: 6e-6)."""


class RewardModelConfig(SupervisedConfig):
    """Config of `grpo reward-model`."""

    stage: Identity[Literal["reward-model"]] = "reward-model"
    """Marks a recipe of `grpo reward-model`."""
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
