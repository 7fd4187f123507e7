"""An evaluation set that training texts are compared with, for `grpo curate` and `grpo decontaminate`."""

from __future__ import annotations

from pydantic import Field, model_validator

from data_recipes.config import DatasetConfig
from policies.json_types import JsonDict
from policies.settings import Identity, Settings


class EvaluationText(Settings, paths=("source",)):
    """An evaluation set; training samples must not share a run of words with it."""

    source: Identity[str] = Field(min_length=1)
    """A .jsonl, .jsonl.gz or .parquet file; or any other source that `[eval.data]` of a recipe takes."""
    subset: Identity[str | None] = None
    """As in `[eval.data]`: config name on the hub."""
    split: Identity[str | None] = None
    """As in `[eval.data]`: a split, "held-out" for a procedural source."""
    seed: Identity[int] = 0
    """As in `[eval.data]`: seed of a procedural source's problems."""
    params: Identity[JsonDict] = Field(default_factory=dict)
    """As in `[eval.data]`; not for files."""
    fields: Identity[tuple[str, ...]] = Field(("question",), min_length=1)
    """Columns with questions and solutions."""

    @property
    def rows(self) -> DatasetConfig:
        """Return the source that `data_recipes.prompts.rows.read_rows` takes."""
        return DatasetConfig(**self.model_dump(exclude={"fields"}))

    @model_validator(mode="after")
    def _fits(self) -> EvaluationText:
        _ = self.rows
        return self
