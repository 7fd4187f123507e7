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
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from data_recipes.procedural import PROCEDURAL, PROCEDURAL_SPLITS
from policies.json_types import JsonDict
from policies.settings import Content, Identity, Operational, Settings

FILE_ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
"""A source with one of these endings is a local file; the ending determines its format. A source that ends with / is a
folder: one that `save_to_disk` of the library datasets wrote, or one whose files with these endings are read in the
order of their names. So are the files of a pattern with *, ? or [."""
AUTO: Final = "auto"
"""The value of a field's key that lets the shape of the rows decide (data_recipes/shapes.py)."""
GYM_PREFIX = "reasoning-gym:"

BadRowsMode = Literal["error", "skip"]
SourceKind = Literal["procedural", "gym", "file", "hub"]


def source_kind(source: str) -> SourceKind:
    """Return how a source is read. Only its name counts, so a recipe means the same on every machine."""
    if source in PROCEDURAL:
        return "procedural"
    if source.startswith(GYM_PREFIX):
        return "gym"
    is_path = source.endswith((*FILE_ENDINGS, "/")) or source.startswith(("/", "./", "../", "~"))
    return "file" if is_path or is_pattern(source) else "hub"


def is_pattern(source: str) -> bool:
    """Return True if a source may name several files, as the shell's patterns do."""
    return any(mark in source for mark in "*?[")


def sources_of(source: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the sources of a key `source`, which holds one or several."""
    return (source,) if isinstance(source, str) else source


def source_name(source: str | tuple[str, ...]) -> str:
    """Return the name of a source for messages and reports: files without their folders, several joined by +."""
    return "+".join(Path(name).name if source_kind(name) == "file" else name for name in sources_of(source))


class DatasetConfig(Settings, paths=("source",)):
    """The source of prompts and how a row becomes a prompt; read by `data_recipes.prompts.datasets.load_prompts`."""

    source: Content[str | tuple[str, ...]]
    """A procedural source ("chain", "r1-world": data_recipes/procedural.py), "reasoning-gym:<task>", a .jsonl, .json
    (an array, or lines) or .parquet file, also .jsonl.gz and .json.gz, a pattern of such files ("data/*.jsonl"), a
    folder of them or of save_to_disk ("runs/demo/samples/", with the / at its end), or a hub name. Several files,
    patterns or folders: a list."""
    subset: Identity[str | None] = None
    """Config name on the hub, e.g. "main" of openai/gsm8k."""
    split: Identity[str | None] = None
    """Hub, save_to_disk: a split; None is "train". Procedural: "train" (also None) or "held-out"."""
    revision: Identity[str | None] = None
    """Hub: a branch, tag or commit of the data set; None is its newest state."""
    streaming: Operational[bool] = False
    """Hub: fetch rows as they are read, so that with `limit` the rest is not downloaded."""
    prompt_field: Identity[str] = AUTO
    """Field of a row that holds the question, as text or as messages; a.b names the field b inside a. "auto": by the
    shape of the rows (data_recipes/shapes.py)."""
    answer_field: Identity[str | None] = AUTO
    """Field that holds the reference answer, e.g. "reward_model.ground_truth"; false if the rewards need none. "auto":
    by the shape of the rows."""
    answer_pattern: Identity[str | None] = None
    """Regular expression whose one group extracts the reference from the answer field: '#### (.+)$' (GSM8K). Thousands
    separators of an extracted number are removed: "1,080" becomes "1080"."""
    columns: Identity[dict[str, str]] = Field(default_factory=dict)
    """Prompt column = field of the row, for fields that rewards read by another name; other fields keep their names."""
    constants: Identity[JsonDict] = Field(default_factory=dict)
    """Columns with the same value in every row, e.g. { kind = "math", language = "en" }."""
    template: Identity[Literal["auto", "r1-zero", "chat", "plain"]] = "auto"
    """"r1-zero": R1-Zero's, for base models; "chat": the tokenizer's chat template; "plain": the question alone.
    "auto": "chat" if the prompts are messages, "r1-zero" if they are text."""
    tools_field: Identity[str | None] = "tools"
    """Field with the tools that the chat template shows; false leaves them out."""
    template_fields: Identity[tuple[str, ...]] = ("enable_thinking", "chat_template_kwargs")
    """Fields whose values the chat template gets as variables of these names; an object gives one variable a key."""
    chat_template_kwargs: Identity[JsonDict] = Field(default_factory=dict)
    """Variables of the chat template for all rows, e.g. { enable_thinking = false }; they win over a row's."""
    system: Identity[str | None] = None
    """System message of the chat template (R1 advises none)."""
    preamble: Identity[str] = ""
    """Text before the question with template = "plain", such as worked examples for a base model."""
    prefill: Identity[str] = ""
    """Text at the start of the assistant's turn, e.g. "<think>\\n"; rewards read it as part of the reply, as they do
    what the chat template itself writes there."""
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
        kinds = {source_kind(source) for source in sources_of(self.source)}
        if not kinds or not all(sources_of(self.source)):
            raise ValueError("expected at least 1 character, or a list of at least one source")
        if isinstance(self.source, tuple) and kinds != {"file"}:
            raise ValueError(
                "several sources must be files, patterns or folders; give others a section [[mix]] each"
            )
        kind = kinds.pop()
        procedural = kind in ("procedural", "gym")
        if procedural and self.split not in (None, *PROCEDURAL_SPLITS):
            raise ValueError(f'split = {self.split!r}: {self.source} has "train" and "held-out"')
        if self.split is not None and any(s.endswith(FILE_ENDINGS) for s in sources_of(self.source)):
            raise ValueError(f"split = {self.split!r}: a file has no splits; give the file of the split")
        for key in ("subset", "revision", "streaming"):
            if kind != "hub" and getattr(self, key):
                raise ValueError(
                    f"{key} = {getattr(self, key)!r} is read for hub data sets only, not for {self.source!r}"
                )
        if not procedural and self.params:
            raise ValueError(f"params are for procedural sources; {self.source!r} has none")
        if self.system is not None and self.template != "chat":
            raise ValueError(f'system is read with template = "chat" only, not with {self.template!r}')
        if self.chat_template_kwargs and self.template != "chat":
            raise ValueError(
                f'chat_template_kwargs are read with template = "chat" only, not with {self.template!r}'
            )
        if self.preamble and self.template != "plain":
            raise ValueError(f'preamble is read with template = "plain" only, not with {self.template!r}')
        if self.answer_pattern is not None and self.answer_field is None:
            raise ValueError("answer_pattern needs an answer_field")
        if kind == "procedural":
            try:
                PROCEDURAL[str(self.source)].params.model_validate(self.params)
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
