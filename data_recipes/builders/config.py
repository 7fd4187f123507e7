"""A public data set that a builder reads. It imports pydantic alone.

[[sources]]
format = "gsm8k"
source = "openai/gsm8k"       # or a file of the same columns
subset = "main"
licence = "MIT"
"""

from __future__ import annotations

from pydantic import Field, model_validator

from data_recipes.builders.formats.built import Kind
from data_recipes.config import DatasetConfig
from policies.json_types import JsonDict
from policies.settings import Content, Identity, Operational, Settings


class SourceConfig(Settings, paths=("source",)):
    """A public data set, by its name on the hub or as files of the same columns."""

    format: Identity[str] = Field(min_length=1)
    """How its rows look; `grpo data formats` lists the names."""
    source: Content[str | tuple[str, ...]]
    """A hub name, files, a folder or "reasoning-gym:<task>", as in `[data]` of a recipe."""
    subset: Identity[str | None] = None
    """As in `[data]`: config name on the hub."""
    split: Identity[str | None] = None
    """As in `[data]`: a split; None is "train"."""
    revision: Identity[str | None] = None
    """As in `[data]`: a branch, tag or commit on the hub."""
    streaming: Operational[bool] = False
    """As in `[data]`: fetch rows of the hub as they are read."""
    seed: Identity[int] = 0
    """As in `[data]`: seed of reasoning-gym's problems."""
    params: Identity[JsonDict] = Field(default_factory=dict)
    """As in `[data]`: settings of a reasoning-gym task."""
    licence: Identity[str] = Field(min_length=1)
    """Licence of the data set, e.g. "MIT"; it stands in every row."""
    kind: Identity[Kind | None] = None
    """Kind of its rows, where the format may hold several; None: the format's first."""
    limit: Identity[int | None] = Field(None, ge=1)
    """Rows to keep of it, chosen by a hash of the question; None keeps all."""

    @property
    def rows(self) -> DatasetConfig:
        """The source as `data_recipes.prompts.rows.read_rows` takes it."""
        return DatasetConfig(**self.model_dump(exclude={"format", "licence", "kind", "limit"}))

    @model_validator(mode="after")
    def _fits(self) -> SourceConfig:
        _ = self.rows
        return self
