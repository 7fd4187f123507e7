"""Fill in the middle (2207.14255), as DeepSeek-Coder-V2 (2406.11931 §3.1) and V3 (2412.19437 §4.1) train it.

    tokens = fim_tokens(tokenizer)                     the tokenizer's own three tokens, whatever they are called
    cut = draw_cut(fim, document, key)                 None: the document stays as it is
    given, middle = psm(tokens, tokenizer, cut)        begin prefix hole suffix end │ middle

PSM: prefix, suffix, then the middle that stood between them. A document is cut before it is packed with others. All is
a pure function of the document's key, so a resumed run cuts alike. It imports pydantic alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from data_recipes.errors import DataError
from policies.settings import Identity, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from policies.tokenizer import Tokenizer

SPELLINGS = (
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek-Coder, -Coder-V2, V3
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen2.5-Coder, Qwen3
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
)
"""Tokens before the prefix, before the suffix, and before the middle, by family."""
DEEPSEEK = SPELLINGS[0]


class FimConfig(Settings):
    """Fill in the middle: a share of the documents becomes prefix, suffix, middle (PSM)."""

    rate: Identity[float] = Field(0.5, ge=0, le=1)
    """Share of the documents (Coder-V2-Lite: 0.5, in fine-tuning too; V3: 0.1)."""
    unit: Identity[Literal["character", "token"]] = "character"
    """Where a document may be cut: between any two characters, or only where its tokens meet, for a tokenizer that
    does not know every part of a word."""


def add_tokens(folder: Path, tokens: Sequence[str] = DEEPSEEK) -> None:
    """Add three tokens behind a written tokenizer's vocabulary; they are recognised in texts and added to none."""
    from tokenizers import AddedToken, Tokenizer

    file = folder / "tokenizer.json"
    backend = Tokenizer.from_file(str(file))
    backend.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens])
    backend.save(str(file))


@dataclass(frozen=True)
class FimTokens:
    """Ids of a tokenizer's three tokens."""

    begin: int
    """Stands before the prefix."""
    hole: int
    """Stands before the suffix."""
    end: int
    """Stands before the middle."""


@dataclass(frozen=True)
class Cut:
    """A document in three parts."""

    prefix: str
    middle: str
    suffix: str


def fim_tokens(tokenizer: Tokenizer) -> FimTokens:
    """Return the tokenizer's own tokens for infilling.

    Raises:
        DataError: it has none that is known.
    """
    for spelling in SPELLINGS:
        ids = [tokenizer.token_id(token) for token in spelling]
        begin, hole, end = ids
        if begin is not None and hole is not None and end is not None:
            return FimTokens(begin, hole, end)
    names = "; ".join(" ".join(spelling) for spelling in SPELLINGS)
    raise DataError(
        f"{tokenizer.folder}: the tokenizer has no tokens for fill in the middle ({names}); leave fim out, or train a "
        "policy whose tokenizer has them"
    )


def draw_cut(fim: FimConfig, document: str, key: str, tokenizer: Tokenizer) -> Cut | None:
    """Cut a document at two places drawn uniformly, or return None for one that stays whole.

    Args:
        fim: rate, and where cuts may be.
        document: its text.
        key: names the document; the same key is cut alike.
        tokenizer: whose tokens meet where unit = "token" cuts.
    """
    rng = random.Random(f"fim/{key}")
    if rng.random() >= fim.rate:
        return None
    if fim.unit == "character":
        first, second = sorted(rng.randint(0, len(document)) for _ in range(2))
        return Cut(document[:first], document[first:second], document[second:])
    ids = tokenizer.encode(document)
    first, second = sorted(rng.randint(0, len(ids)) for _ in range(2))
    parts = (ids[:first], ids[first:second], ids[second:])
    return Cut(*(tokenizer.decode(part, skip_special=False) for part in parts))


def psm(tokens: FimTokens, tokenizer: Tokenizer, cut: Cut) -> tuple[list[int], list[int]]:
    """Return the tokens that are given, and those of the middle, without the end of the text.

    Raises:
        DataError: the document contains one of the three tokens, which would end a part early.
    """
    prefix, middle, suffix = (tokenizer.encode(part) for part in (cut.prefix, cut.middle, cut.suffix))
    own = {tokens.begin, tokens.hole, tokens.end}
    if found := own.intersection([*prefix, *middle, *suffix]):
        name = tokenizer.decode([min(found)], skip_special=False)
        raise DataError(f"the document contains {name!r}, a token of fill in the middle; delete it")
    return [tokens.begin, *prefix, tokens.hole, *suffix, tokens.end], middle
