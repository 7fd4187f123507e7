"""Config of `grpo curate`. R1 names its filters without thresholds; the default thresholds are this project's."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from data_recipes.config import BadRowsMode
from grpo.config.evaluation_text import EvaluationText
from grpo.config.sections import ParquetPath
from policies.settings import Content, Identity, Operational, Settings
from rewards.llm.config import LlmConfig

COLD_START = "cold-start"
"""The rewriter that asks a language model."""


class MixFile(Settings, paths=("source",)):
    """Finished training samples to add, e.g. R1's non-reasoning data."""

    source: Identity[str] = Field(min_length=1)
    """A .jsonl, .jsonl.gz or .parquet file with the columns completion, and prompt, question or messages (the
    conversation before the reply); kind and language are kept."""
    limit: Identity[int | None] = Field(None, ge=1)
    """Number of rows to take, from the start of the file."""


class CurateConfig(Settings, paths=("sources", "rewrite")):
    """Config of `grpo curate`, which turns scored samples into an SFT Parquet file."""

    stage: Identity[Literal["curate"]] = "curate"
    """Marks a recipe of `grpo curate`."""
    seed: Identity[int] = Field(0, ge=0)
    """Seed of the choice among the samples of a prompt."""
    sources: Identity[tuple[str, ...]] = Field(min_length=1)
    """Scored samples with the columns id, prompt_id, prompt, completion and the component `correct`: files, or folders
    of files (ending in /)."""
    out: Operational[ParquetPath]
    """Parquet file to write; the counts are written beside it as <out>.json."""
    correct: Identity[str | tuple[str, ...]] = "accuracy"
    """Reward component that decides whether a sample is correct; a judge's component may take the place of a rule's. A
    list if each kind of prompt has its own (["accuracy", "mcq", "code"]): a sample must have a verdict of at least one
    and pass all that it has."""
    min_score: Identity[float] = 1.0
    """Least value of the component `correct` that counts as correct."""
    needs_reasoning: Identity[bool] = True
    """Keep only samples with reasoning (`<think>…</think>`); false for replies to requests that need none."""
    min_language_share: Identity[float | None] = Field(0.9, ge=0, le=1)
    """Minimal fraction of reasoning words in the prompt's language; false turns the filter off."""
    max_paragraph_words: Identity[int | None] = Field(300, ge=1)
    """Maximum length of a paragraph of the reasoning; false turns the filter off."""
    allow_code: Identity[bool] = False
    """Keep samples whose reasoning has code blocks."""
    max_repeated_share: Identity[float | None] = Field(0.5, ge=0, le=1)
    """Maximum fraction of repeated 4-grams; false turns the filter off."""
    per_prompt: Identity[int | None] = Field(1, ge=1)
    """Samples kept per prompt; false keeps all."""
    choose: Identity[Literal["first", "shortest", "random"]] = "first"
    """Which samples of a prompt are kept, if more than per_prompt are left."""
    rewrite: Identity[str | None] = None
    """"r1-format"; "cold-start" (a language model, `llm`, makes thought and summary readable, and rules check that the
    answer stays); or a function (prompt, completion) -> str given as `package.module:function` / `path.py:function`,
    which raises ValueError where it cannot rewrite a sample."""
    llm: LlmConfig | None = None
    """The language model of rewrite = "cold-start"."""
    rewrite_examples: Content[Path | None] = None
    """Your own examples for "cold-start": a .jsonl file with question, raw, thought and summary. None: the shipped
    two. R1's were written and checked by people."""
    mix: tuple[MixFile, ...] = ()
    """Finished rows of other files to add."""
    bad_rows: Identity[BadRowsMode] = "error"
    """Treatment of rows that cannot be used: they stop the stage, or are left out and counted."""
    decontaminate: tuple[EvaluationText, ...] = ()
    """Evaluation sets that the rows must not share a run of words with."""
    ngram: Identity[int] = Field(10, ge=1)
    """Number of consecutive shared words that counts as copied (R1: 10)."""

    @model_validator(mode="after")
    def _asks_a_model(self) -> CurateConfig:
        if self.rewrite == COLD_START and self.llm is None:
            raise ValueError('rewrite = "cold-start" needs a model: llm = { url = "…", cache = "…" }')
        if self.rewrite != COLD_START and self.llm is not None:
            raise ValueError('llm is read with rewrite = "cold-start" only')
        return self

    @model_validator(mode="after")
    def _reads_others(self) -> CurateConfig:
        if self.out in {Path(name) for name in (*self.sources, *(file.source for file in self.mix))}:
            raise ValueError(
                f"out = {str(self.out)!r} is one of the files that are read, and would be written over"
            )
        return self

    @property
    def deciding(self) -> tuple[str, ...]:
        """Return the components of `correct`."""
        return (self.correct,) if isinstance(self.correct, str) else self.correct

    @field_validator("correct")
    @classmethod
    def _some(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value or not all(value) or (isinstance(value, tuple) and len(set(value)) < len(value)):
            raise ValueError("expected the name of a component, or several that differ")
        return value
