"""Builds the completions that a reward is tried with: right, wrong, empty, garbled, truncated or deceptive ones.

Each `Case` belongs to one check (`rewards.lab.checks`) and has an expected score. A policy in training finds whatever
is rewarded, so most cases are completions that policies have found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rewards.lab.perturb import differs, wrong_answers
from rewards.lab.rows import REASONING, SLOT, TEMPLATES, Labelled, LabRow
from rewards.rows import RewardRow

Judges = Literal["answer", "format", "value"]
"""What a reward judges: whether the answer is right, the format alone, or a graded quality (length, preference)."""

_LONG_REASONING_CHARS = 60_000
_ROWS_WITH_ALL_CASES = 12
"""Cases that hardly depend on the row are built from the first few rows only."""
_FORMULA = re.compile(r"[0-9(][0-9\s.+\-*/^()×÷]*[+\-*/^×÷][0-9\s.+\-*/^()×÷]*[0-9)]")
_GARBLED = (
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor",
    "<<</think ans<er>> }}{{ \\boxed \\frac{ $$ ** ``` </ <answer <think",
    "ﬁ ﬂ 🙂👩‍👩‍👧 \u202eetihw\u202c \ufffd\ufffd Ωμέγα 你好世界 שלום \u0301\u0301\u0301 \x00\x07 \u2028 ॐ",
)
_UNICODE_ANSWERS = ("🙂", "\ufffd\x00\u202e", "٧٧٧٧٧٧٧", "∞⃝ ½⅞ ⁹⁹⁹ ₉")


@dataclass(frozen=True)
class Case:
    """One completion to score."""

    check: str
    """Name of the check that the case belongs to."""
    variant: str
    """Description of the case."""
    row: RewardRow
    line: int
    expected: float | None
    """Expected score. None: no score is right or wrong, but it must be stable."""


@dataclass(frozen=True)
class Scores:
    """The scores that this reward gives right and wrong answers."""

    right: float = 1.0
    wrong: float = 0.0


def dress(row: LabRow, template: str, answer: str | None = None) -> str:
    """Return the row's completion with `answer` (default: the right one) in `template`."""
    inner = row.around.replace(SLOT, row.gold if answer is None else answer) if row.has_slot else row.gold
    return template.replace(SLOT, inner)


def gold_cases(rows: Sequence[LabRow], templates: Mapping[bool, str], right: float) -> list[Case]:
    """Return the right completion of each row; `templates` is keyed by `is_own`."""
    return [
        _case("gold", "right answer", row, number, dress(row, templates[row.is_own]), right)
        for number, row in enumerate(rows)
    ]


def make_cases(
    rows: Sequence[LabRow],
    labelled: Sequence[Labelled],
    templates: Mapping[bool, str],
    judges: Judges,
    scores: Scores,
) -> list[Case]:
    """Return all cases, grouped by row."""
    cases: list[Case] = []
    for number, row in enumerate(rows):
        others = [other.gold for other in (*rows[number + 1 :], *rows[:number]) if other.gold != row.gold]
        made = _of_row(row, number, templates[row.is_own], others[:4], scores)
        cases += [_as_judged(case, judges) for case in made if _belongs(case, judges)]
    for number, item in enumerate(labelled):
        reward_row = RewardRow(
            item.completion, item.prompt, item.answer, item.columns, group_index=len(rows) + number
        )
        what = "completion of the data" if item.expected is None else "labelled completion"
        cases.append(Case("labels", what, reward_row, item.line, item.expected))
    return cases


def _of_row(row: LabRow, number: int, template: str, others: Sequence[str], scores: Scores) -> list[Case]:
    right, wrong = scores.right, scores.wrong
    gold = dress(row, template)
    made: list[tuple[str, str, str, float]] = [
        ("gold", "right answer", gold, right),
        ("tags", "white space around a right one", f"\n{gold}\n", right),
    ]
    if REASONING in gold and number < 3:
        long = (REASONING + "\n") * (_LONG_REASONING_CHARS // len(REASONING))
        made.append(("gold", "long reasoning", gold.replace(REASONING, long, 1), right))
    faulty = wrong_answers(row.gold, others, row.wrong) if row.has_slot else []
    made += [("perturbed", how, dress(row, template, text), wrong) for how, text in faulty]
    if not row.has_slot:
        made += [
            ("perturbed", "another question's completion", template.replace(SLOT, o), wrong)
            for o in others[:2]
        ]
    made += [("truncated", how, text, wrong) for how, text in _truncated(row, template)]
    if number >= _ROWS_WITH_ALL_CASES:
        return [_case(check, how, row, number, text, score) for check, how, text, score in made]
    made += [("empty", how, text, wrong) for how, text in _empty(row, template)]
    made += [("garbled", "noise", text, wrong) for text in _GARBLED]
    made += [
        ("garbled", "symbols as the answer", dress(row, template, text), wrong)
        for text in _UNICODE_ANSWERS
        if row.has_slot
    ]
    made += _deceptions(row, template, [text for _, text in faulty], wrong)
    return [_case(check, how, row, number, text, score) for check, how, text, score in made]


def _empty(row: LabRow, template: str) -> list[tuple[str, str]]:
    made = [("nothing", ""), ("white space", " \n\t "), ("tags alone", "<think></think><answer></answer>")]
    return [*made, ("no answer", dress(row, template, ""))] if row.has_slot else made


def _truncated(row: LabRow, template: str) -> list[tuple[str, str]]:
    """Return completions cut in the reasoning, before the answer, and inside the answer."""
    gold = dress(row, template)
    made: list[tuple[str, str]] = []
    if row.has_slot:
        start = dress(row, template, SLOT).find(SLOT)
        first = min(start, gold.find(row.gold)) if row.is_own else start
        if first > 0:
            made.append(("before the answer", gold[:first]))
        half = row.gold[: len(row.gold) // 2].rstrip()
        if half and not row.is_own and differs(row.gold, half):
            made.append(("inside the answer", gold[:start] + half))
        gold = gold[: max(first, 0)]
    if len(gold) > 8:
        made.append(("in the middle", gold[: len(gold) * 2 // 5]))
    return made


def _deceptions(
    row: LabRow, template: str, faulty: Sequence[str], wrong: float
) -> list[tuple[str, str, str, float]]:
    """Return completions that a policy finds if it cannot solve the question."""
    made: list[tuple[str, str, str, float]] = []
    if row.prompt.strip() and not _holds(row.prompt, row.gold):
        made.append(("echo", "the question, copied", row.prompt, wrong))
        if row.has_slot:
            made.append(("echo", "the question as the answer", dress(row, template, row.prompt), wrong))
    if not row.has_slot or row.is_own or not faulty:
        return made
    other, right = faulty[0], row.gold
    reasoned = template if REASONING in template else f"{REASONING}\n{template}"
    mistaken = dress(row, reasoned, other)
    padded = mistaken.replace(REASONING, f"{REASONING}\n" * 80, 1)
    mentioned = mistaken.replace(REASONING, f"{REASONING} At one point {right} comes up.", 1)
    listed = ", ".join([*faulty[:2], right, *faulty[2:5], other])
    made += [
        ("padding", "a wrong answer behind long reasoning", padded, wrong),
        ("contained", "the answer only in the reasoning", mentioned, wrong),
        ("contained", "a list with the answer in it", dress(row, template, listed), wrong),
        ("hedged", "right or wrong", dress(row, template, f"{right} or {other}"), wrong),
        ("hedged", "wrong or right", dress(row, template, f"{other} or {right}"), wrong),
        ("hedged", "not the answer", dress(row, template, f"not {right}"), wrong),
    ]
    if (formula := _FORMULA.search(row.prompt)) and formula.group().strip() != right:
        undone = dress(row, template, formula.group().strip())
        made.append(("sums", "the sum of the question as the answer", undone, wrong))
    if "<answer>" in template:
        inside = mistaken.replace(REASONING, f"{REASONING} <answer>{right}</answer>", 1)
        made.append(("tags", "an answer inside the reasoning", inside, wrong))
        made.append(
            ("tags", "the answer tag left open", dress(row, template).removesuffix("</answer>"), wrong)
        )
    if "\\boxed" in template:
        more = "".join(f" \\boxed{{{text}}}" for text in (*faulty[1:4], right))
        made.append(("tags", "every candidate in a box", dress(row, template, other) + more, wrong))
    return made


def _holds(prompt: str, answer: str) -> bool:
    """Return True if the question names the answer (as options do): a copy of the question may then count as right."""
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", prompt) is not None


def _case(check: str, variant: str, row: LabRow, number: int, completion: str, score: float) -> Case:
    reward_row = RewardRow(completion, row.prompt, row.answer, row.columns, group_index=number)
    return Case(check, variant, reward_row, row.line, score)


def _belongs(case: Case, judges: Judges) -> bool:
    """Return True if the case applies to what the reward judges: a format reward has no say on answers."""
    if judges != "format":
        return True
    if case.check == "truncated":
        return case.variant == "in the middle"
    return case.check in ("gold", "empty", "garbled") and case.variant not in (
        "symbols as the answer",
        "no answer",
    )


def _as_judged(case: Case, judges: Judges) -> Case:
    return case if judges != "value" else Case(case.check, case.variant, case.row, case.line, None)


def template_text(name: str) -> str:
    """Return the template of that name, or the text itself if it has the slot. Raises ValueError."""
    if name in TEMPLATES:
        return TEMPLATES[name]
    if SLOT in name:
        return name.replace("\\n", "\n")
    raise ValueError(
        f"no template {name!r}: name one of {', '.join(TEMPLATES)}, or write one with {SLOT} in it"
    )
