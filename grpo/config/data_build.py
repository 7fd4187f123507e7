"""Config of `grpo data build`, which turns public data sets into a recipe's data file."""

from __future__ import annotations

from pydantic import Field, field_validator

from data_recipes.builders.config import SourceConfig
from data_recipes.builders.formats.built import Kind
from data_recipes.config import BadRowsMode
from grpo.config.evaluation_text import EvaluationText
from grpo.config.sections import ParquetPath
from policies.settings import Identity, Operational, Settings


class DataBuildConfig(Settings):
    """Config of `grpo data build`. A builder's own values stand where a recipe and --set say nothing."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    """Public data sets, by hub name or as files of the same columns."""
    out: Operational[ParquetPath]
    """Parquet file to write. Beside it: <out>.held-out.parquet, the manifest <out>.json (sources, hashes, licences,
    counts) and <out>.dropped.jsonl, the rows that a rule left out."""
    against: tuple[EvaluationText, ...] = ()
    """Evaluation sets that no row may share a run of words with, in question, solution or reply."""
    ngram: Identity[int] = Field(10, ge=1)
    """Number of consecutive shared words that counts as copied (R1: 10)."""
    most: Identity[dict[Kind, int]] = Field(default_factory=dict)
    """Rows to keep of each kind, chosen by a hash of the question."""
    held_out: Identity[float] = Field(0.01, ge=0, lt=1)
    """Fraction of the questions that is held out, by a hash of the question's words."""
    before_year: Identity[int | None] = Field(None, ge=1900)
    """Leave out problems of competitions from that year on, where a data set has the year (R1: 2023)."""
    check_answers: Identity[bool] = True
    """Leave out references that their own reward does not accept: no reply could be right."""
    workers: Operational[int] = Field(1, ge=1)
    """Processes that check answers."""
    seed: Identity[int] = Field(0, ge=0)
    """Which rows are kept where there are more than the limits allow, and their order."""
    bad_rows: Identity[BadRowsMode] = "error"
    """Treatment of rows that cannot be used: they stop the build, or are left out and counted."""

    @field_validator("most")
    @classmethod
    def _some(cls, value: dict[Kind, int]) -> dict[Kind, int]:
        if any(number < 1 for number in value.values()):
            raise ValueError("expected 1 or more of each kind; leave a kind out to keep all of it")
        return value
