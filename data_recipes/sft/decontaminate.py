"""Finds training texts that share an n-gram of words with an evaluation set.

The rule is R1's (Nature supplement: 10-gram match against evaluation questions and solutions). It finds copies, not
paraphrases. Arithmetic signs tell n-grams apart but do not lengthen them. Counted as words they would make 10-grams of
short sums: GSM8K's test solutions, with their `<<48/2=24>>`, would take 5,485 of its 7,473 training rows, not 116.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

_HAN = r"\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+|[-+*/=<>^]")
_SIGNS = {"−": "-", "‐": "-", "‒": "-", "–": "-", "×": "*", "⋅": "*", "∙": "*", "÷": "/", "∕": "/"}
"""The spelling to use for each arithmetic sign: data sets write the same problem with a hyphen or with U+2212."""
_SIGN = re.compile(f"[{''.join(_SIGNS)}]")
_COUNTLESS = frozenset("-+*/=<>^")
"""The signs of `_WORD`."""
_INVISIBLE = re.compile(r"[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
_LATEX_SIGNS = (
    (re.compile(r"\\(?:times|cdot|ast)(?![A-Za-z])"), " * "),
    (re.compile(r"\\div(?![A-Za-z])"), " / "),
)
_HYPHEN = re.compile(r"(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})")
"""A hyphen between words ("well-known"), which is not a minus sign."""


@dataclass(frozen=True)
class EvaluationGrams:
    """The n-grams of the evaluation sets."""

    n: int
    grams: frozenset[tuple[str, ...]]
    """Runs of n words, with the signs between them, of evaluation texts of at least n words."""
    short: frozenset[tuple[str, ...]]
    """Whole evaluation texts of fewer than n words; they match equal texts only."""


def words(text: str) -> list[str]:
    """Return the words of a text in lower case; each Han character is one word.

    Arithmetic signs are kept (x+1 is not x-1) in one spelling each (×, \\times and *). Other punctuation, hyphens
    between words and invisible characters are removed.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    if not text.isascii():
        text = _SIGN.sub(lambda match: _SIGNS[match[0]], _INVISIBLE.sub("", text))
    if "\\" in text:
        for pattern, sign in _LATEX_SIGNS:
            text = pattern.sub(sign, text)
    return _WORD.findall(_HYPHEN.sub(" ", text) if "-" in text else text)


def evaluation_grams(texts: Iterable[str], n: int = 10) -> EvaluationGrams:
    """Build the index of evaluation questions and solutions.

    Raises:
        ValueError: n < 1.
    """
    if n < 1:
        raise ValueError(f"n = {n} must be 1 or more")
    grams: set[tuple[str, ...]] = set()
    short: set[tuple[str, ...]] = set()
    for text in texts:
        found = words(text)
        if _counted(found) >= n:
            grams.update(_grams(found, n))
        elif found:
            short.add(tuple(found))
    return EvaluationGrams(n, frozenset(grams), frozenset(short))


def is_contaminated(text: str, evaluation: EvaluationGrams) -> bool:
    """Return True if `text` shares an n-gram with an evaluation text, or equals one of fewer than n words."""
    return shared_words(text, evaluation) is not None


def shared_words(text: str, evaluation: EvaluationGrams) -> str | None:
    """Return the first words that `text` shares with an evaluation text; None if it is not contaminated."""
    found = words(text)
    if _counted(found) < evaluation.n:
        return " ".join(found) if tuple(found) in evaluation.short else None
    return next((" ".join(gram) for gram in _grams(found, evaluation.n) if gram in evaluation.grams), None)


def _counted(found: list[str]) -> int:
    return sum(word not in _COUNTLESS for word in found)


def _grams(found: list[str], n: int) -> Iterable[tuple[str, ...]]:
    """Yield every run of n words, with the signs between them."""
    places = [place for place, word in enumerate(found) if word not in _COUNTLESS]
    return (tuple(found[first : last + 1]) for first, last in zip(places, places[n - 1 :], strict=False))
