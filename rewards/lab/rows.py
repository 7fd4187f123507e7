"""Reads the data of `grpo reward try`: rows with a reference answer, from which right completions are built.

Input is JSON Lines, also gzipped, or Parquet (rewards/row_files.py); rows of TRL and verl are read as
rewards/plain_rows.py says. Further keys are columns for the reward:

    {"prompt": "What is 17 + 25?", "answer": "42"}                       a template writes the completion
    {"prompt": "…", "answer": "42", "solution": "17 + 25 = \\boxed{42}"}   the row has its own completion (`GOLD_KEYS`)
    {"prompt": "…", "answer": "42", "wrong": ["24", "42.5"]}              further answers that must not pass
    {"completion": "…", "answer": "42", "expected": 0}                    a case with its score, used unchanged
    {"completion": "…", "answer": "42"}                                   a case whose score must only be stable
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from policies.json_types import JsonMapping
from rewards.plain_rows import plain
from rewards.row_files import read_file

ItemT = TypeVar("ItemT")
PROMPT_KEYS = ("prompt", "question", "problem")
ANSWER_KEYS = ("answer", "ground_truth")
GOLD_KEYS = ("gold", "solution")
"""Columns that may hold a complete right completion; the first one present counts."""
EXPECTED_KEYS = ("expected", "label", "correct")
"""Columns that may hold the score of the row's completion."""
_NOT_COLUMNS = frozenset({"wrong", "expected", "completion", "gold"})

SLOT = "{answer}"
REASONING = "I work through the question step by step, write every step down and check the result once more."
TEMPLATES: dict[str, str] = {
    "think_answer": f"<think>\n{REASONING}\n</think>\n<answer>{SLOT}</answer>",
    "think_boxed": f"<think>\n{REASONING}\n</think>\n\nThe answer is \\boxed{{{SLOT}}}.",
    "answer_boxed": f"<think>\n{REASONING}\n</think>\n<answer>\\boxed{{{SLOT}}}</answer>",
    "fenced": f"<think>\n{REASONING}\n</think>\n<answer>\n```python\n{SLOT}\n```\n</answer>",
    "hashes": f"{REASONING}\n#### {SLOT}",
    "sentence": f"{REASONING}\nThe answer is {SLOT}.",
    "bare": SLOT,
}
"""Templates for a right completion with an answer (or with the row's own completion)."""
FOR_ANSWERS = ("think_answer", "think_boxed", "answer_boxed", "hashes", "sentence", "bare", "fenced")
FOR_OWN = ("bare", "think_answer", "fenced", "think_boxed")


@dataclass(frozen=True)
class LabRow:
    """One question of the file."""

    line: int
    """Line number, counted from 1."""
    prompt: str
    answer: object
    columns: JsonMapping
    gold: str
    """The answer as text; or, if `has_slot` is False, a complete completion that contains no copy of the answer."""
    around: str
    """The text around the answer: `SLOT`, or the row's own completion with `SLOT` in it."""
    is_own: bool
    """True if the row has its own completion."""
    wrong: tuple[str, ...] = ()

    @property
    def has_slot(self) -> bool:
        """False if the row's own completion does not contain the answer's text."""
        return SLOT in self.around


@dataclass(frozen=True)
class Labelled:
    """A completion with its expected score."""

    line: int
    prompt: str
    answer: object
    columns: JsonMapping
    completion: str
    expected: float | None
    """Expected score. None: unknown; the reward must give a number, and always the same one."""


@dataclass(frozen=True)
class LabData:
    """The contents of a data file."""

    rows: tuple[LabRow, ...]
    labelled: tuple[Labelled, ...]
    problems: tuple[str, ...]
    """Lines that cannot be used, with the reason."""


def read_data(path: Path, max_rows: int) -> LabData:
    """Read at most `max_rows` of each kind, drawn with a fixed seed and kept in the file's order.

    Raises:
        OSError, ValueError: see `rewards.row_files.read_file`.
    """
    rows: list[LabRow] = []
    labelled: list[Labelled] = []
    problems: list[str] = []
    for row in read_file(path):
        found = row.problem if row.record is None else _read(row.number, plain(row.record))
        if isinstance(found, str):
            problems.append(f"line {row.number}: {found}")
        else:
            rows += [item for item in found if isinstance(item, LabRow)]
            labelled += [item for item in found if isinstance(item, Labelled)]
    return LabData(tuple(_some(rows, max_rows)), tuple(_some(labelled, max_rows)), tuple(problems))


def _some(items: list[ItemT], count: int) -> list[ItemT]:
    if len(items) <= count:
        return items
    chosen = sorted(random.Random(0).sample(range(len(items)), count))
    return [items[at] for at in chosen]


def _read(line: int, record: JsonMapping) -> list[LabRow | Labelled] | str:
    prompt = next((record[key] for key in PROMPT_KEYS if record.get(key) is not None), "")
    if not isinstance(prompt, str):
        return f"the prompt is {type(prompt).__name__}, expected a string"
    answer = next((record[key] for key in ANSWER_KEYS if record.get(key) is not None), None)
    columns = {
        key: value
        for key, value in record.items()
        if key not in _NOT_COLUMNS and key not in ("prompt", "answer")
    }
    if record.get("completion") is not None and not any(
        isinstance(record.get(key), str) for key in GOLD_KEYS
    ):
        item = _labelled(line, prompt, answer, columns, record)
        if isinstance(item, str) or item.expected is not None or answer in (None, "", []):
            return item if isinstance(item, str) else [item]
        without = _row(line, prompt, answer, columns, record)
        return without if isinstance(without, str) else [without, item]
    row = _row(line, prompt, answer, columns, record)
    return row if isinstance(row, str) else [row]


def _row(line: int, prompt: str, answer: object, columns: JsonMapping, record: JsonMapping) -> LabRow | str:
    gold = next((record[key] for key in GOLD_KEYS if isinstance(record.get(key), str)), None)
    if answer in (None, "", []) and gold is None:
        return "neither an answer nor a completion that is right (gold, solution)"
    wrong = record.get("wrong") or []
    if not isinstance(wrong, list):
        return "'wrong' must be a list of answers"
    text = answer_text(answer)
    if gold is None:
        around = SLOT
    elif text and (at := gold.rfind(text)) >= 0:
        around = gold[:at] + SLOT + gold[at + len(text) :]
    else:
        around, text = gold, gold
    return LabRow(line, prompt, answer, columns, text, around, gold is not None, tuple(map(str, wrong)))


def _labelled(
    line: int, prompt: str, answer: object, columns: JsonMapping, record: JsonMapping
) -> Labelled | str:
    completion = record["completion"]
    if not isinstance(completion, str):
        return f"the completion is {type(completion).__name__}, expected a string"
    key = next((key for key in EXPECTED_KEYS if record.get(key) is not None), None)
    if key is not None and not isinstance(record[key], int | float):
        return f"{key!r} is {type(record[key]).__name__}, expected a number"
    return Labelled(line, prompt, answer, columns, completion, None if key is None else float(record[key]))


def answer_text(answer: object) -> str:
    """Return a reference as a person would write it: plain numbers, several values with commas, the first of several
    spellings."""
    if answer is None:
        return ""
    if isinstance(answer, list):
        items = [answer_text(item) for item in answer]
        is_all = all(isinstance(item, int | float) and not isinstance(item, bool) for item in answer)
        return ", ".join(items) if is_all else items[0]
    if isinstance(answer, float) and answer.is_integer() and abs(answer) < 1e15:
        return str(int(answer))
    return str(answer)
