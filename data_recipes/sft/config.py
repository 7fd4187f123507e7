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

from data_recipes.config import AUTO, BadRowsMode, DatasetConfig
from data_recipes.fim import FimConfig
from policies.json_types import JsonDict
from policies.settings import Content, Identity, Operational, Settings


class SftSource(Settings, paths=("source",)):
    """A data set and how its rows become training examples; read by `data_recipes.sft.examples.read_examples`."""

    source: Content[str | tuple[str, ...]]
    """Files, a pattern, a folder, a hub name or a list of files, as in RL; procedural sources hold no replies."""
    subset: Identity[str | None] = None
    """Config name on the hub, e.g. "main" of openai/gsm8k."""
    split: Identity[str | None] = None
    """Hub, save_to_disk: a split; None is "train"."""
    revision: Identity[str | None] = None
    """Hub: a branch, tag or commit of the data set; None is its newest state."""
    streaming: Operational[bool] = False
    """Hub: fetch rows as they are read, so that with `limit` the rest is not downloaded."""
    format: Identity[Literal["auto", "columns", "chat"]] = AUTO
    """"columns": a prompt and a completion. "chat": a list of messages with `role` and `content`, or ShareGPT's turns;
    every assistant turn is trained (docs/sft.md). "auto": by the shape of the rows (data_recipes/shapes.py)."""
    prompt_field: Identity[str] = AUTO
    """Field of the prompt, for format "columns"; a.b names the field b inside a. "auto": by the shape of the rows."""
    completion_field: Identity[str] = AUTO
    """Field of the completion, for format "columns"."""
    messages_field: Identity[str] = AUTO
    """Field of the messages, for format "chat"."""
    template: Identity[Literal["r1-zero", "chat", "plain"] | None] = None
    """The template of the prompt field, as in RL. None: a field `prompt` of text is rendered already, as is one that
    prompt_field names; messages, and questions of other shapes (Alpaca), get the tokenizer's chat template."""
    system: Identity[str | None] = None
    """System message of the chat template. Format "chat": added to conversations that have none."""
    tools_field: Identity[str | None] = "tools"
    """Field with the tools that the chat template shows; false leaves them out."""
    template_fields: Identity[tuple[str, ...]] = ("enable_thinking", "chat_template_kwargs")
    """Fields whose values the chat template gets as variables of these names; an object gives one variable a key."""
    chat_template_kwargs: Identity[JsonDict] = Field(default_factory=dict)
    """Variables of the chat template for all rows, e.g. { enable_thinking = false }; they win over a row's."""
    preamble: Identity[str] = ""
    """Text before the question with template = "plain"."""
    prefill: Identity[str] = ""
    """Text at the start of the assistant's turn, e.g. "<think>\\n"; part of the prompt, not trained."""
    fim: FimConfig | None = None
    """Fill in the middle for a share of the rows: prompt and completion joined are the document. Not for chats."""
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
        return DatasetConfig(
            source=self.source,
            subset=self.subset,
            split=self.split,
            revision=self.revision,
            streaming=self.streaming,
        )

    @property
    def given(self) -> dict[str, str]:
        """Role → field, of the keys that name one."""
        keys = {
            "prompt": self.prompt_field,
            "completion": self.completion_field,
            "messages": self.messages_field,
        }
        return {role: name for role, name in keys.items() if name != AUTO}

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
        if "messages" in self.given and len(self.given) > 1:
            raise ValueError(
                "messages_field is for conversations, prompt_field and completion_field for columns"
            )
        columns = sorted({"prompt", "completion"} & set(self.given))
        if self.format == "chat" and columns:
            raise ValueError(f'{columns[0]}_field is read with format = "columns" only')
        if self.format == "columns" and "messages" in self.given:
            raise ValueError('messages_field is read with format = "chat" only')
        if self.format == "chat" and self.template not in (None, "chat"):
            raise ValueError(f'format = "chat" is rendered by the chat template, not by {self.template!r}')
        if self.system is not None and "chat" not in (self.format, self.template):
            raise ValueError("system is read with the chat template only")
        if self.preamble and self.template != "plain":
            raise ValueError('preamble is read with template = "plain" only')
        if self.prefill and self.format != "chat" and self.template is None:
            raise ValueError("prefill needs a template; without one the prompt is used as it is")
        if self.fim is not None and (self.format == "chat" or self.template == "chat"):
            raise ValueError(
                'fim cuts documents, and a conversation is none; set template = "plain" or leave fim out'
            )
        if self.chat_template_kwargs and self.template not in (None, "chat"):
            raise ValueError('chat_template_kwargs are read with template = "chat" only')
        return self
