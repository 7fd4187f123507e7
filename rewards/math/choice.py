"""Reward `mcq`: 1 if the chosen option letters equal the reference, else 0. Choosing several where one is right is 0.

The answer (see `rewards.text.extract`) may be a letter in any common form (`B`, `(b)`, `\\text{B}`, `Option B`,
`B. Paris`, `答案：B`), a sentence that settles on one (see `rewards.math.conclusion`) or, if the data row has a column
`choices`, the text of exactly one option. The reference is a letter, several letters ("AC", ["A", "C"]), the text of an
option or, with `choices`, its zero-based index.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence

from rewards.math.answer import is_denied
from rewards.math.conclusion import concluded, settles
from rewards.rows import RewardRow
from rewards.text.extract import answer_text, boxes
from rewards.types import Score
from rewards.values import failed

_LETTERS = string.ascii_uppercase[:10]
_MAX_CHARS = 2000
_WRAP = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed)\s*\{([^{}]*)\}")
_LEAD = re.compile(
    r"^(?:(?:so|thus|therefore|hence),?\s+)?(?:(?:the|my)\s+)?(?:(?:final|correct|right|best)\s+)?"
    r"(?:answer|option|choice)s?\s*(?:is|are)?\s*[:=]?\s*(?:(?:option|choice)\s+)?"
    r"|^(?:答案|选项|正确答案|最终答案)?\s*(?:是|为|应为|选择?|[:：])\s*|^答\s*[:：]\s*",
    re.IGNORECASE,
)
_ONE = re.compile(r"^\(?([A-Ja-j])\)?[.,:]?$")
_LETTER_THEN_TEXT = re.compile(r"^(?:\(([A-J])\)|([A-J])(?:[.):]|\s+[-–—](?=\s)))\s*(\S.*)$", re.DOTALL)
_IN_PARENTHESES = re.compile(r"^\( ?([A-J]) ?\)\s*(\S.*)$", re.DOTALL)
_MANY = re.compile(r"^(?:\([A-J]\)){2,}\.?$|^\(?[A-J]\)?(?:\s*(?:,|;|、|&|\band\b|和|\s)\s*\(?[A-J]\)?)+\.?$")


def mcq(row: RewardRow) -> Score:
    """Return 1.0 if the chosen letters equal the reference's, else 0.0; abstain if there is no reference.

    Report `error` if the column `choices` is not a list or the reference names no option.
    """
    choices = row.columns.get("choices") or row.columns.get("options") or ()
    if not isinstance(choices, Sequence) or isinstance(choices, str):
        return failed("error", "column 'choices' must be a list of option texts")
    expected = _reference(row.answer, choices)
    if expected is None:
        return failed("abstain", "no reference answer")
    if not expected:
        return failed("error", f"reference {row.answer!r} names no option")
    body = answer_text(row.completion)
    if body is None:
        return Score(0.0, reason="no answer found")
    if len(body) > _MAX_CHARS:
        return Score(0.0, reason="answer is too long for a choice")
    chosen = _chosen(body, choices)
    if chosen is None:
        return Score(0.0, reason="names no single option")
    return Score(1.0 if chosen == expected else 0.0)


def _reference(answer: object, choices: Sequence[object]) -> frozenset[str] | None:
    """Return the letters of the reference: empty if it names no option, None if there is no reference."""
    if answer is None or answer == [] or (isinstance(answer, str) and not answer.strip()):
        return None
    if isinstance(answer, bool):
        return frozenset()
    if isinstance(answer, int):
        return frozenset(_LETTERS[answer]) if 0 <= answer < min(len(choices), len(_LETTERS)) else frozenset()
    if isinstance(answer, list):
        parts = [_reference(item, choices) for item in answer]
        return frozenset().union(*(part or frozenset() for part in parts)) if all(parts) else frozenset()
    text = _undressed(str(answer))
    if re.fullmatch(r"[A-J]{1,10}", text) and len(set(text)) == len(text):
        return frozenset(text)
    return _chosen(text, choices) or frozenset()


def _chosen(body: str, choices: Sequence[object]) -> frozenset[str] | None:
    """Return the letters that the answer commits to; None if it does not commit to any."""
    found = boxes(body)
    inner = {_undressed(box.body) for box in found}
    if len(inner) > 1 or any(is_denied(body, box) for box in found):
        return None
    text = inner.pop() if inner else _undressed(body)
    limit = _LETTERS[: len(choices)] if choices else _LETTERS
    chosen = _named(text, limit, choices)
    if chosen is None and not inner and (end := concluded(_marked(body))) is not None:
        chosen = _named(_undressed(end), limit, choices)
    return chosen


def _named(text: str, limit: str, choices: Sequence[object]) -> frozenset[str] | None:
    """Return the letters that a bare answer names: B, (b), A and C, "B. Paris", or the text of one option."""
    if match := _ONE.match(text):
        return _within(match.group(1).upper(), limit)
    if _MANY.match(text):
        return _within("".join(re.findall(r"[A-J]", text)), limit)
    if re.fullmatch(r"[A-J]{2,10}\.?", text) and len(set(text)) == len(text):
        return _within(text.rstrip("."), limit)
    folded = _folded(text)
    same = [letter for letter, choice in zip(limit, choices, strict=False) if _folded(str(choice)) == folded]
    if len(same) == 1:
        return frozenset(same)
    if match := _LETTER_THEN_TEXT.match(text):
        letter, rest = match.group(1) or match.group(2), match.group(3)
        return frozenset(letter) if _agrees(letter, rest, limit, choices) else None
    return None


def labelled(text: str) -> tuple[str, str] | None:
    """Return letter and text of "(C) 12"; None if one is missing or the text speaks of other options."""
    match = _IN_PARENTHESES.match(text)
    return (match[1], match[2]) if match and _agrees(match[1], match[2], _LETTERS, ()) else None


def _agrees(letter: str, text: str, limit: str, choices: Sequence[object]) -> bool:
    """Return True if the text after a letter is that option's text.

    If the option texts are unknown, the text must not mention another option and must not hedge.
    """
    if letter not in limit:
        return False
    if choices:
        return _folded(text) == _folded(str(choices[_LETTERS.index(letter)]))
    return not settles(text) - {letter} and not re.search(
        r"\([A-J]\)|(?<![A-Za-z])[B-J](?![A-Za-z])|\bA[.):]|\b(?:or|not|maybe|either|wrong|incorrect)\b|[?？]|或|不",
        text,
    )


def _within(letters: str, limit: str) -> frozenset[str] | None:
    return frozenset(letters) if set(letters) <= set(limit) else None


def _marked(text: str) -> str:
    """Remove LaTeX wrappers, emphasis and dollar signs, so that words and letters stand side by side."""
    text = unicodedata.normalize("NFKC", text)
    for _ in range(3):
        text = _WRAP.sub(r"\1", text)
    return re.sub(r"[*_`$]+|\\[()\[\]]", "", text).strip()


def _undressed(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).strip()
    for _ in range(3):
        text = _WRAP.sub(r"\1", text)
        text = text.strip(" \t\r\n$*_`\"'").strip()
        text = re.sub(r"^\\[(\[]|\\[)\]]$", "", text).strip()
    return _LEAD.sub("", text, count=1).strip(" \t\r\n$*_`\"'。")


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(" .。")
