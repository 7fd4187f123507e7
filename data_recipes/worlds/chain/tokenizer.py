"""A tokenizer of about eighty pieces for the tiny base: digits, words, and phrases of the template.

    build_tokenizer(Path("runs/base/policy"))     tokenizer.json, tokenizer_config.json

A piece includes the space before it (" 7", " <think>"), so decoding joins pieces, and decode(encode(text)) == text for
every text made of the pieces. Digits, operators and tags also exist without the space. The fixed parts of the R1-Zero
template are one piece each: a tokenizer trained on the corpus would merge them as well, because half of the corpus is
that template, and a prompt takes 24 tokens instead of 90. The tags are ordinary pieces and no special tokens, so that
decoding without special tokens keeps them for the rewards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from data_recipes.templates import R1_ZERO

PAD, BOS, EOS, UNK = "<pad>", "<s>", "</s>", "<unk>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
TASK_PHRASE = "compute modulo 10 from left to right:"
WORDS = (
    "the", "a", "boy", "girl", "teacher", "user", "reads", "writes", "sees", "asks", "book", "number",
    "question", "answer", "word", "is", "and", "then", "guess", "result", "of", "in", "small", "old",
    "first", "next",
)  # fmt: skip
"""Words of the plain text and of guessing replies."""


def pieces() -> list[str]:
    """Return the vocabulary in the order of its ids, special tokens first."""
    digits, operators = [str(d) for d in range(10)], ["+", "-", "*"]
    spaced = [f" {p}" for p in (*digits, *operators, "=", ";", *TAGS, TASK_PHRASE, *WORDS)]
    bare = [*digits, *operators, "=", ";", *TAGS, " ", ".", ",", ":", "?", "\n"]
    return list(dict.fromkeys([PAD, BOS, EOS, UNK, *spaced, *bare, *_template_phrases()]))


def _template_phrases() -> list[str]:
    """Return the parts of the R1-Zero template between the tags and around the question."""
    stretches = re.split("|".join(f" {re.escape(t)}" for t in TAGS) + r"|\s?\{prompt\}", R1_ZERO)
    return [s for s in stretches if s]


def build_tokenizer(folder: Path) -> None:
    """Write the tokenizer's files into a policy folder; `AutoTokenizer` and vLLM load them."""
    write_tokenizer(folder, pieces())


def write_tokenizer(folder: Path, vocabulary_pieces: Sequence[str], chat_template: str | None = None) -> None:
    """Write the files of a tokenizer with these pieces, which begin with the special tokens."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    vocabulary = {piece: number for number, piece in enumerate(vocabulary_pieces)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    special = [PAD, BOS, EOS, UNK]
    # The longest matching piece is taken; text without any becomes one <unk> per stretch.
    plain = sorted((p for p in vocabulary if p not in special), key=len, reverse=True)
    pattern = Regex("|".join(re.escape(p).replace("\\\n", "\\n").replace("\\ ", " ") for p in plain))
    backend.pre_tokenizer = pre_tokenizers.Split(pattern, behavior="isolated")
    backend.decoder = decoders.Fuse()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, vocabulary[BOS])]
    )
    backend.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "unk_token": UNK,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1024,
    }
    if chat_template is not None:
        config["chat_template"] = chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
