"""The tokenizer of the R1 task world: every word of both languages is one piece, with the space before it.

It has the digits, signs, tags and template phrases of data_recipes/worlds/chain/tokenizer.py and a chat template:

    <s><｜User｜> compute modulo 10 from left to right: 7 * 4 + 3<｜Assistant｜> <think> 7 times 4 is …

R1's reply follows the marker as R1-Zero's follows the template's ". Assistant:", with the same distances between
pieces, so that a policy can use after the one what it has learnt after the other.
"""

from __future__ import annotations

from pathlib import Path

from data_recipes.worlds.chain import tokenizer
from data_recipes.worlds.r1.words import WORDS, vocabulary

USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
BOX = " \\boxed{"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    f"{USER} {{{{ m.content }}}}"
    "{% else %}"
    f"{ASSISTANT}{{{{ m.content }}}}{{{{ eos_token }}}}"
    "{% endif %}{% endfor %}"
    f"{{% if add_generation_prompt %}}{ASSISTANT}{{% endif %}}"
)


def pieces() -> list[str]:
    """Return the vocabulary in the order of its ids."""
    tasks = [f" {words.task}" for words in WORDS.values()]
    own = [*tasks, *(f" {word}" for word in vocabulary()), USER, ASSISTANT, BOX, "}"]
    return list(dict.fromkeys([*tokenizer.pieces(), *own]))


def build_tokenizer(folder: Path) -> None:
    """Write the tokenizer's files into a folder."""
    tokenizer.write_tokenizer(folder, pieces(), CHAT_TEMPLATE)
