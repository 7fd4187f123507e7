"""Config of `grpo pairs`. Defaults are R1's (arXiv 2501.12948 v2 §3.1), with their sources."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from data_recipes.config import BadRowsMode
from grpo.config.sections import ParquetPath
from policies.json_types import JsonDict
from policies.settings import Identity, Operational, Settings
from rewards.llm.config import LlmConfig

PAIRWISE = "pairwise"
"""The judge that compares with a language model."""


class JudgeConfig(Settings, paths=("name", "params")):
    """The judge that decides between two completions."""

    name: Identity[str] = Field(min_length=1)
    """A reward, whose values are compared; or, with compares = true, "pairwise" (a language model, `llm`) or a function
    of yours, `package.module:function` or `path/file.py:function`, which gets two completions and returns which one is
    better."""
    compares: Identity[bool] = False
    """True: `judge(prompt, first, second, seed, columns) -> float`, from −2 (second much better, [[B>>A]]) to 2."""
    params: Identity[JsonDict] = Field(default_factory=dict)
    """Keyword arguments of the judge."""
    llm: LlmConfig | None = None
    """The language model that "pairwise" or a judge_… reward asks; a function of yours gets the section as `llm`."""
    timeout_s: Operational[float] = Field(60.0, gt=0, le=3600)
    """Deadline of one call of a reward."""
    votes: Identity[int | None] = Field(None, ge=1)
    """Judgements per pair by a judge that compares; with swap, half of them in each order. None: 4 (R1: 4 per pair, in
    random order)."""
    swap: Identity[bool] = True
    """Ask in both orders and leave out a pair whose winner depends on the order: a judge with a position bias gives no
    information."""

    @model_validator(mode="after")
    def _reward_votes(self) -> JudgeConfig:
        if not self.compares and self.votes is not None:
            raise ValueError("votes is read with compares = true only: a reward gives one value")
        if self.swap and self.votes is not None and self.votes % 2:
            raise ValueError(
                f"votes = {self.votes} cannot be halved between both orders; make it even, or swap = false"
            )
        if self.compares and self.name == PAIRWISE and self.llm is None:
            raise ValueError('"pairwise" needs a model: llm = { url = "…", cache = "…" }')
        if self.name == PAIRWISE and self.params:
            raise ValueError(
                f'"pairwise" has no parameter {", ".join(self.params)}; its keys are those of llm'
            )
        if self.name == PAIRWISE and not self.compares:
            raise ValueError('"pairwise" compares two completions; set compares = true')
        return self


class PairsConfig(Settings, paths=("source",)):
    """Config of `grpo pairs`."""

    stage: Identity[Literal["pairs"]] = "pairs"
    """Marks a recipe of `grpo pairs`."""
    seed: Identity[int] = Field(0, ge=0)
    """Seed of the pairs drawn and of the judge."""
    source: Identity[str] = Field(min_length=1)
    """Sampled completions: a .jsonl, .jsonl.gz or .parquet file, or a folder of such files (ending in /), with the
    columns prompt_id, prompt, completion."""
    out: Operational[ParquetPath]
    """Parquet file to write; the counts are written beside it as <out>.json."""
    judge: JudgeConfig
    bad_rows: Identity[BadRowsMode] = "error"
    """Treatment of rows that cannot be used: they stop the stage, or are left out and counted."""
    objective: Identity[Literal["pairwise", "pointwise"]] = "pairwise"
    """"pairwise": pairs with a winner. "pointwise": every completion with label 1 or 0, from a judge that is a reward:
    the safety model's rows, or a program with its compiler's verdict (Coder-V2)."""
    label_above: Identity[float] = 0.5
    """Pointwise only: the label is 1 if the reward is above this value."""
    kinds: Identity[tuple[str, ...]] = ()
    """Values of the column `kind` to use; empty uses all."""
    pairs_per_prompt: Identity[int] = Field(1, ge=1)
    """Maximum number of pairs drawn from a prompt's completions."""
    min_margin: Identity[float] = Field(1.0, ge=0)
    """Keep a pair if the judge's mean score difference is above this value (R1: 1)."""
    max_length_ratio: Identity[float | None] = Field(1.1, ge=1)
    """Upper bound of the ratio of mean lengths chosen / rejected over the data set; its inverse is the lower bound.
    false: no balancing."""

    @model_validator(mode="after")
    def _consistent(self) -> PairsConfig:
        if self.objective == "pointwise" and self.judge.compares:
            raise ValueError("a point-wise judge is a reward; set judge.compares = false")
        if self.out == Path(self.source):
            raise ValueError(f"out = {str(self.out)!r} is the file that is read, and would be written over")
        return self
