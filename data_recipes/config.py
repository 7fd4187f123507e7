"""The `[data]` section of a recipe. It imports pydantic alone, so a config is checked without loading a data set.

[data]
source = "openai/gsm8k"          # hub name; or a file, "chain", "r1-world", "reasoning-gym:chain_sum"
subset = "main"
split = "train"
answer_pattern = '#### (.+)$'
template = "r1-zero"
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from data_recipes.procedural import PROCEDURAL, PROCEDURAL_SPLITS
from policies.json_types import JsonDict
from policies.settings import Content, Identity, Settings

FILE_ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
"""A source with one of these endings is a local file; the ending determines its format. A source that ends with / is a
folder, whose files with these endings are read in the order of their names."""
GYM_PREFIX = "reasoning-gym:"

BadRowsMode = Literal["error", "skip"]
SourceKind = Literal["procedural", "gym", "file", "hub"]


def source_kind(source: str) -> SourceKind:
    """Return how a source is read. Only its name counts, so a recipe means the same on every machine."""
    if source in PROCEDURAL:
        return "procedural"
    if source.startswith(GYM_PREFIX):
        return "gym"
    return "file" if source.endswith((*FILE_ENDINGS, "/")) else "hub"


class DatasetConfig(Settings):
    """The source of prompts and how a row becomes a prompt; read by `data_recipes.prompts.datasets.load_prompts`."""

    source: Content[str] = Field(min_length=1)
    """A procedural source ("chain", "r1-world": data_recipes/procedural.py), "reasoning-gym:<task>", a .jsonl,
    .jsonl.gz or .parquet file, a folder of such files ("runs/demo/samples/", with the / at its end), or a hub name."""
    subset: Identity[str | None] = None
    """Config name on the hub, e.g. "main" of openai/gsm8k."""
    split: Identity[str | None] = None
    """Hub: a split; None is "train". Procedural: "train" (also None) or "held-out". Files have no splits."""
    prompt_field: Identity[str] = "question"
    """Field of a row that holds the question."""
    answer_field: Identity[str | None] = "answer"
    """Field that holds the reference answer; false if the rewards need none."""
    answer_pattern: Identity[str | None] = None
    """Regular expression whose one group extracts the reference from the answer field: '#### (.+)$' (GSM8K). Thousands
    separators of an extracted number are removed: "1,080" becomes "1080"."""
    columns: Identity[dict[str, str]] = Field(default_factory=dict)
    """Prompt column = field of the row, for fields that rewards read by another name; other fields keep their names."""
    constants: Identity[JsonDict] = Field(default_factory=dict)
    """Columns with the same value in every row, e.g. { kind = "math", language = "en" }."""
    template: Identity[Literal["r1-zero", "chat", "plain"]] = "r1-zero"
    """"r1-zero": R1-Zero's, for base models; "chat": the tokenizer's chat template; "plain": the question alone."""
    system: Identity[str | None] = None
    """System message of the chat template (R1 advises none)."""
    preamble: Identity[str] = ""
    """Text before the question with template = "plain", such as worked examples for a base model."""
    prefill: Identity[str] = ""
    """Text at the start of the assistant's turn, e.g. "<think>\\n"; rewards read it as part of the reply."""
    limit: Identity[int | None] = Field(None, ge=1)
    """Use the first N rows only."""
    max_prompt_tokens: Identity[int | None] = Field(None, ge=1)
    """Leave out rows whose prompt has more tokens (the log counts them); None keeps all."""
    duplicates: Identity[Literal["error", "drop"]] = "error"
    """Treatment of a row that gives the same prompt and answer as an earlier one."""
    bad_rows: Identity[BadRowsMode] = "error"
    """Treatment of rows that cannot be used: they stop the stage, or are left out and counted in a warning."""
    seed: Identity[int] = 0
    """Seed of a procedural source's problems."""
    params: Identity[JsonDict] = Field(default_factory=dict)
    """Settings of a procedural source (data_recipes/procedural.py) or of a reasoning-gym task."""

    @field_validator("answer_pattern")
    @classmethod
    def _one_group(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                groups = re.compile(value).groups
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
            if groups != 1:
                raise ValueError(f"needs exactly one group, has {groups}; e.g. '#### (.+)$'")
        return value

    @model_validator(mode="after")
    def _fits_source(self) -> DatasetConfig:
        kind = source_kind(self.source)
        procedural = kind in ("procedural", "gym")
        if procedural and self.split not in (None, *PROCEDURAL_SPLITS):
            raise ValueError(f'split = {self.split!r}: {self.source} has "train" and "held-out"')
        if kind == "file" and self.split is not None:
            raise ValueError(f"split = {self.split!r}: a file has no splits; give the file of the split")
        if kind != "hub" and self.subset is not None:
            raise ValueError(
                f"subset = {self.subset!r} is read for hub data sets only, not for {self.source!r}"
            )
        if not procedural and self.params:
            raise ValueError(f"params are for procedural sources; {self.source!r} has none")
        if self.system is not None and self.template != "chat":
            raise ValueError(f'system is read with template = "chat" only, not with {self.template!r}')
        if self.preamble and self.template != "plain":
            raise ValueError(f'preamble is read with template = "plain" only, not with {self.template!r}')
        if self.answer_pattern is not None and self.answer_field is None:
            raise ValueError("answer_pattern needs an answer_field")
        if kind == "procedural":
            try:
                PROCEDURAL[self.source].params.model_validate(self.params)
            except ValidationError as error:
                first = error.errors()[0]
                key = ".".join(["params", *map(str, first["loc"])])
                raise ValueError(f"{key} = {first['input']!r}: {first['msg']}") from None
        return self


class MixSource(DatasetConfig):
    """A further source that RL draws prompts from: `[[mix]]`."""

    share: Identity[int] = Field(1, ge=1)
    """Questions of this source per `data_share` questions of `[data]`."""
    start_step: Identity[int] = Field(0, ge=0)
    """First optimizer step that draws from it (R1's second RL stage: general prompts in the last 400 of 1,700)."""
