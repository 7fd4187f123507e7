"""Reads the prompts of a stage and prints how their rows were read, with one rendered example of each data set.

data.jsonl, verl: prompt ← prompt (messages), answer ← reward_model.ground_truth; template chat
  e.g. '<|im_start|>user\\n7 * 4?<|im_end|>\\n<|im_start|>assistant\\n'; answer '28'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from grpo.common.console import middle_out, say

if TYPE_CHECKING:
    from data_recipes.config import DatasetConfig
    from policies.tokenizer import Tokenizer
    from rollout.types import Prompt

SHOWN_CHARS = 240
"""Characters of a rendered example that the screen shows, half of them of its end."""


def read_and_show(configs: Sequence[DatasetConfig], tokenizer: Tokenizer) -> list[list[Prompt]]:
    """Read the prompts of several data sets, print how, and return them by data set.

    Raises:
        DataError: see `data_recipes.prompts.datasets.read_prompts`.
    """
    from data_recipes.prompts.datasets import read_prompts

    found = []
    for config in configs:
        loaded = read_prompts(config, tokenizer)
        first = loaded.prompts[0]
        opening = f"; the reply begins with {first.prefill!r}" if first.prefill else ""
        answer = "no reference answer" if first.answer is None else f"answer {shown(first.answer)}"
        show_rows(
            f"{loaded.source}, {loaded.layout.show()}; template {loaded.template}",
            f"{shown(first.text)}{opening}; {answer}",
        )
        found.append(loaded.prompts)
    return found


def shown(text: str) -> str:
    """Return a text as a line on screen: its repr, of a long one the beginning and the end."""
    return middle_out(repr(text), SHOWN_CHARS)


def show_rows(how: str, example: str) -> None:
    """Print how the rows of a data set were read, and one of them."""
    say(f"  {escape(how)}\n    e.g. {escape(example)}")
