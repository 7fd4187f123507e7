"""Config of `grpo decontaminate`, which leaves out training rows that share text with an evaluation set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from grpo.config.evaluation_text import EvaluationText
from grpo.config.sections import ParquetPath
from policies.settings import Identity, Operational, Settings


class DecontaminateConfig(Settings, paths=("sources",)):
    """Config of `grpo decontaminate`."""

    stage: Identity[Literal["decontaminate"]] = "decontaminate"
    """Marks a recipe of `grpo decontaminate`."""
    sources: Identity[tuple[str, ...]] = Field(min_length=1)
    """Rows for any training stage: prompts, examples, samples, pairs. Files, folders of files (ending in /), or hub
    names (their split "train")."""
    out: Operational[ParquetPath]
    """Parquet file to write, with the rows that are left as they were; the counts are written beside it as <out>.json,
    what was left out as <out>.dropped.jsonl."""
    against: tuple[EvaluationText, ...] = Field(min_length=1)
    """Evaluation sets that the rows must not share a run of words with."""
    fields: Identity[tuple[str, ...]] = ()
    """Fields that are compared (a.b is the field b inside a); none: every text of a row, also in messages."""
    ngram: Identity[int] = Field(10, ge=1)
    """Number of consecutive shared words that counts as copied (R1: 10). Shorter evaluation texts match equal texts."""

    @model_validator(mode="after")
    def _reads_others(self) -> DecontaminateConfig:
        if self.out in {Path(name) for name in self.sources}:
            raise ValueError(
                f"out = {str(self.out)!r} is one of the files that are read, and would be written over"
            )
        return self
