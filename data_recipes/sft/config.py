"""Where SFT examples come from: the `[data]` and `[[mix]]` sections of `grpo sft`. Pydantic alone.

[data]
source = "sft.parquet"            # what `grpo curate` writes: rendered prompts, nothing else to say

[[mix]]
source = "openai/gsm8k"           # hub name; question and answer columns behind a template
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
from policies.settings import Settings


class SftSource(Settings):
    """One data set and how a row of it becomes training examples; read by `data_recipes.sft.examples.read_examples`."""

    source: str = Field(min_length=1)
    """A .jsonl, .jsonl.gz or .parquet file, a folder of such files (with a / at its end), or a hub name."""
    subset: str | None = None
    """Config name on the hub, e.g. "main" of openai/gsm8k."""
    split: str | None = None
    """Split on the hub; None: "train". A file has none."""
    format: Literal["columns", "chat"] = "columns"
    """"columns": a prompt and a completion as text. "chat": a list of messages with `role` and `content`, each
    assistant turn of which is trained (docs/sft.md)."""
    prompt_field: str = "prompt"
    completion_field: str = "completion"
    messages_field: str = "messages"
    """Fields of a row, read by format "columns" and "chat" respectively."""
    template: Literal["r1-zero", "chat", "plain"] | None = None
    """Format "columns": how the prompt field is rendered, as in RL. None: it is rendered already, word for word what
    the policy is to read. Format "chat" always takes the tokenizer's chat template."""
    system: str | None = None
    """System message of the chat template. Format "chat": put in front of conversations that bring none."""
    preamble: str = ""
    """Text in front of the question with template = "plain"."""
    prefill: str = ""
    """Put at the start of the assistant's turn, e.g. "<think>\\n"; part of the prompt, not trained."""
    replace: tuple[tuple[str, str], ...] = ()
    """[pattern, replacement] pairs for completions and assistant turns, applied in order with Python's re.sub."""
    limit: int | None = Field(None, ge=1)
    """Use the first N rows only."""
    repeats: float = Field(1.0, gt=0)
    """How often each example comes in an epoch; with 0.5 each epoch draws another half of them."""
    bad_rows: BadRowsMode = "error"
    """What a row that cannot be used does: stop the stage, or be left out, counted, and named in bad_rows.txt."""

    @property
    def rows(self) -> DatasetConfig:
        """What `data_recipes.prompts.rows.read_rows` takes."""
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
            raise ValueError("prefill needs a template; without one the prompt is taken as it stands")
        return self
