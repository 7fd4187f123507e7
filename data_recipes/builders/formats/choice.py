"""Questions of multiple choice: MMLU, MMLU-Pro, GPQA, ARC, SciQ, MedMCQA, C-Eval and CMMLU.

The options stand in the question's text behind their letters, and in `choices`; the answer is a letter. Where a data
set stores the right option apart from the wrong ones, a hash of the question decides their order.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Sequence

from data_recipes.builders.formats.built import Built
from data_recipes.builders.formats.fields import any_text, number, optional, text, texts
from data_recipes.builders.formats.language import language_of
from data_recipes.errors import DataError
from data_recipes.fields import MISSING, Row, look_up, show

LETTERS = string.ascii_uppercase[:10]
ASK = {
    "en": "Choose the correct option and answer with its letter.",
    "zh": "请选择正确的选项，并用选项的字母作答。",
}


def from_mmlu(where: str, row: Row) -> Built:
    """MMLU: question, choices, answer as an index or a letter."""
    choices = texts(where, row, "choices")
    return _built(where, text(where, row, "question"), choices, _index(where, row, "answer", len(choices)))


def from_mmlu_pro(where: str, row: Row) -> Built:
    """MMLU-Pro: question, options (up to ten), answer as a letter."""
    choices = texts(where, row, "options")
    right = _index(where, row, "answer", len(choices))
    return _built(where, text(where, row, "question"), choices, right, optional(where, row, "cot_content"))


def from_gpqa(where: str, row: Row) -> Built:
    """GPQA: Question, Correct Answer, Incorrect Answer 1 to 3, Explanation."""
    wrong = [text(where, row, f"Incorrect Answer {n}") for n in (1, 2, 3)]
    return _mixed(
        where,
        text(where, row, "Question"),
        text(where, row, "Correct Answer"),
        wrong,
        optional(where, row, "Explanation"),
    )


def from_sciq(where: str, row: Row) -> Built:
    """SciQ: question, correct_answer, distractor1 to 3, support."""
    wrong = [text(where, row, f"distractor{n}") for n in (1, 2, 3)]
    return _mixed(
        where,
        text(where, row, "question"),
        text(where, row, "correct_answer"),
        wrong,
        optional(where, row, "support"),
    )


def from_arc(where: str, row: Row) -> Built:
    """ARC: question, choices of text and label, answerKey (a letter or a digit from 1)."""
    choices, labels = texts(where, row, "choices.text"), texts(where, row, "choices.label")
    key = text(where, row, "answerKey")
    if len(labels) != len(choices) or key not in labels:
        raise DataError(f"{where}: answerKey = {key!r}; expected one of choices.label: {', '.join(labels)}")
    return _built(where, text(where, row, "question"), choices, labels.index(key))


def from_medmcqa(where: str, row: Row) -> Built:
    """MedMCQA: question, opa to opd, cop as an index, exp."""
    choices = [text(where, row, f"op{letter}") for letter in "abcd"]
    right = number(where, row, "cop", 0, 3)
    return _built(where, text(where, row, "question"), choices, right, optional(where, row, "exp"))


def from_ceval(where: str, row: Row) -> Built:
    """C-Eval and CMMLU: question, A, B, C, D, answer; with capitals in CMMLU."""
    choices = [_cell(where, row, letter) for letter in "ABCD"]
    name = "Answer" if look_up(row, "answer") is MISSING else "answer"
    question = any_text(where, row, ("question", "Question"))
    return _built(where, question, choices, _index(where, row, name, 4), optional(where, row, "explanation"))


def _cell(where: str, row: Row, name: str) -> str:
    """Return an option as text; C-Eval stores numbers as numbers."""
    value = look_up(row, name)
    return (
        str(value)
        if isinstance(value, int | float) and not isinstance(value, bool)
        else text(where, row, name)
    )


def _index(where: str, row: Row, name: str, count: int) -> int:
    value = look_up(row, name)
    if isinstance(value, str) and value.strip() in LETTERS[:count] and len(value.strip()) == 1:
        return LETTERS.index(value.strip())
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count:
        return value
    raise DataError(
        f"{where}: {name} = {show(value)}; expected a letter up to {LETTERS[count - 1]} or an index below {count}"
    )


def _mixed(where: str, question: str, right: str, wrong: Sequence[str], solution: str | None) -> Built:
    def rank(choice: str) -> bytes:
        return hashlib.sha256(f"{question}\0{choice}".encode()).digest()

    choices = sorted([right, *wrong], key=rank)
    return _built(where, question, choices, choices.index(right), solution)


def _built(
    where: str, question: str, choices: Sequence[str], right: int, solution: str | None = None
) -> Built:
    if len(set(choices)) < len(choices):
        raise DataError(f"{where}: two options are the same: {show(list(choices))}")
    if len(choices) > len(LETTERS):
        raise DataError(f"{where}: {len(choices)} options; expected {len(LETTERS)} at most")
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    ask = ASK["zh" if language_of(question) == "zh" else "en"]
    return Built(
        "stem",
        f"{question}\n\n{listed}\n\n{ask}",
        answer=LETTERS[right],
        solution=solution,
        choices=tuple(choices),
    )
