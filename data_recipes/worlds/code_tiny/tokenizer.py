"""The tokenizer of the tiny code base: about eighty pieces, words of questions and parts of program lines."""

from __future__ import annotations

from pathlib import Path

from data_recipes.worlds.chain.tokenizer import BOS, EOS, PAD, UNK, write_tokenizer
from data_recipes.worlds.code_tiny.problems import RETURNS, STEPS

_CODE = (
    "```python\n", "```", "def f(xs):\n", "def f(xs)\n", "    xs =", "    return", " xs", "xs", " [x", " [-x",
    " for x in xs", " if x", " x", " %", " *", " +", " >", " <", " ==", " 0", " 1", " 2", "]\n", ")\n", "[", "]", "(",
    ")", "::-1", "1:", ":-1", " sorted(", " sum(", " len(", " max(", ", default=0", "\n",
)  # fmt: skip


def pieces() -> list[str]:
    """Return the vocabulary in the order of its ids, special tokens first."""
    words = {f" {word}" for step in (*STEPS.values(), *RETURNS.values()) for word in step.words.split()}
    return list(
        dict.fromkeys([PAD, BOS, EOS, UNK, "Write f:", *sorted(words), ",", ".\n", ".", ":\n", *_CODE])
    )


def build_tokenizer(folder: Path) -> None:
    """Write the tokenizer's files into a policy folder."""
    write_tokenizer(folder, pieces())
