"""Sources of SFT examples: the `[data]` and `[[mix]]` sections of `grpo sft`. It imports pydantic alone.

[data]
source = "sft.parquet"            # the output of `grpo curate`: rendered prompts, no further settings

[[mix]]
source = "openai/gsm8k"           # hub name; question and answer columns with a template
subset = "main"
prompt_field = "question"
completion_field = "answer"
template = "chat"
replace = [['<<[^>]*>>', ''], ['#### (.+)\\Z', 'The answer is \\\\boxed{\\1}.']]
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from data_recipes.config import BadRowsMode, DatasetConfig
from policies.settings import Content, Identity, Settings


class SftSource(Settings):
    """A data set and how its rows become training examples; read by `data_recipes.sft.examples.read_examples`."""

    source: Content[str] = Field(min_length=1)
    """A .jsonl, .jsonl.gz or .parquet file, a folder of such files (with a / at its end), or a hub name."""
    subset: Identity[str | None] = None
    """Config name on the hub, e.g. "main" of openai/gsm8k."""
    split: Identity[str | None] = None
    """Split on the hub; None is "train". Files have no splits."""
    format: Identity[Literal["columns", "chat"]] = "columns"
    """"columns": a prompt and a completion as text. "chat": a list of messages with `role` and `content`; every
    assistant turn is trained (docs/sft.md)."""
    prompt_field: Identity[str] = "prompt"
    completion_field: Identity[str] = "completion"
    messages_field: Identity[str] = "messages"
    """Field of the messages, for format "chat"; the two before are for format "columns"."""
    template: Identity[Literal["r1-zero", "chat", "plain"] | None] = None
    """Format "columns": the template of the prompt field, as in RL; None if the field is rendered already. Format
    "chat" always uses the tokenizer's chat template."""
    system: Identity[str | None] = None
    """System message of the chat template. Format "chat": added to conversations that have none."""
    preamble: Identity[str] = ""
    """Text before the question with template = "plain"."""
    prefill: Identity[str] = ""
    """Text at the start of the assistant's turn, e.g. "<think>\\n"; part of the prompt, not trained."""
    replace: Identity[tuple[tuple[str, str], ...]] = ()
    """[pattern, replacement] pairs for completions and assistant turns, applied in order with Python's re.sub."""
    limit: Identity[int | None] = Field(None, ge=1)
    """Use the first N rows only."""
    repeats: Identity[float] = Field(1.0, gt=0)
    """Occurrences of each example per epoch; with 0.5 each epoch draws a different half of them."""
    bad_rows: Identity[BadRowsMode] = "error"
    """Treatment of rows that cannot be used: they stop the stage, or are left out and listed in bad_rows.txt."""

    @property
    def rows(self) -> DatasetConfig:
        """The source as a config of `data_recipes.prompts.rows.read_rows`."""
        return DatasetConfig(source=self.source, subset=self.subset, split=self.split)

    @field_validator("replace")
    @classmethod
    def _patterns(cls, value: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        for pattern, replacement in value:
            try:
                re.compile(pattern).sub(replacement, "")
            except (re.error, IndexError) as error:
                raise ValueError(f"{pattern!r} → {replacement!r}: {error}") from None
        return value

    @model_validator(mode="after")
    def _fits(self) -> SftSource:
        _ = self.rows  # checks source, subset and split against each other
        if self.format == "chat" and self.template not in (None, "chat"):
            raise ValueError(f'format = "chat" is rendered by the chat template, not by {self.template!r}')
        if self.system is not None and "chat" not in (self.format, self.template):
            raise ValueError("system is read with the chat template only")
        if self.preamble and self.template != "plain":
            raise ValueError('preamble is read with template = "plain" only')
        if self.prefill and self.format == "columns" and self.template is None:
            raise ValueError("prefill needs a template; without one the prompt is used as it is")
        return self
