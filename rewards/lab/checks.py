"""Defines the checks of the laboratory and judges each one from scores. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from policies.json_types import JsonDict, JsonMapping
from rewards.lab.cases import Case
from rewards.types import Score

Status = Literal["pass", "fail", "warn", "skip"]

MEANINGS: dict[str, str] = {
    "loads": "found, imported, its signature recognised",
    "data": "rows of the file that can be used",
    "gold": "right answers get the full score",
    "perturbed": "near misses get nothing",
    "labels": "labelled completions get their score",
    "empty": "completions without an answer get nothing",
    "garbled": "noise, symbols and odd Unicode get nothing",
    "truncated": "completions cut short get nothing",
    "echo": "the copied question gets nothing",
    "contained": "an answer among others, or in the reasoning alone, gets nothing",
    "padding": "length does not pay",
    "verdicts": "every completion gets a number (no abstention, timeout, error, NaN)",
    "repeatable": "the same completions again: the same scores",
    "order": "another order: the same scores",
    "batch": "other companions: the same scores",
    "processes": "two fresh processes at once: the same scores",
    "threads": "four threads at once: the same scores",
    "tidy": "no call leaves a process or a thread behind",
    "deadline": "every call ends before half of its deadline",
    "hedged": "hedges and negations get nothing",
    "sums": "a sum left undone gets nothing",
    "tags": "tags out of place do not pay, white space around costs nothing",
}
"""Every check and its requirement, in display order."""
ADVISORY = frozenset({"hedged", "sums", "tags", "tidy"})
"""Checks whose failure is a warning: some conventions allow these scores, though a policy will exploit them; an untidy
reward only costs time."""
_MAX_EXAMPLES = 3
_TOLERANCE = 1e-6
_SHOWN_CHARS = 160


@dataclass(frozen=True)
class Example:
    """A completion that failed a check."""

    line: int
    variant: str
    answer: str
    completion: str
    """The completion, or its end if it is long."""
    expected: str
    got: str


@dataclass(frozen=True)
class Check:
    """The outcome of one check."""

    name: str
    status: Status
    cases: int = 0
    failed: int = 0
    detail: str = ""
    examples: tuple[Example, ...] = ()

    @property
    def meaning(self) -> str:
        """Return the requirement of the check."""
        return MEANINGS[self.name]


def judge_values(name: str, cases: Sequence[Case], scores: Sequence[Score | None]) -> Check:
    """Check that the cases of the check `name` got their expected scores. Cases without a score were not tried.

    A case that got no number is left to the check `verdicts`, unless a number is expected.
    """
    made = [
        (case, score)
        for case, score in zip(cases, scores, strict=True)
        if case.check == name and score is not None and case.expected is not None
    ]
    tried = [(case, score) for case, score in made if score.total is not None or name in ("gold", "labels")]
    if not tried:
        why = "none of them got a number" if made else "no such case can be made of these rows"
        return Check(name, "skip", detail=why)
    wrong = [(case, score) for case, score in tried if not _is(score, case.expected)]
    examples = [example(case, f"{case.expected:g}", score) for case, score in wrong]
    return _check(name, len(tried), len(wrong), examples)


def judge_stable(
    name: str, cases: Sequence[Case], first: Sequence[Score | None], again: Sequence[Score | None]
) -> Check:
    """Check that two series of scores agree case by case."""
    tried = [
        (case, a, b)
        for case, a, b in zip(cases, first, again, strict=True)
        if a is not None and b is not None
    ]
    if not tried:
        return Check(name, "skip", detail="not tried")
    other = [(case, a, b) for case, a, b in tried if not same(a, b)]
    examples = [example(case, score_text(a), b) for case, a, b in other]
    return _check(name, len(tried), len(other), examples)


def judge_verdicts(cases: Sequence[Case], scores: Sequence[Score | None], is_graded: bool) -> Check:
    """Check that every case gets a number. A graded reward may abstain; that is a warning."""
    tried = [(case, score) for case, score in zip(cases, scores, strict=True) if score is not None]
    bad = [(case, score) for case, score in tried if score.verdict != "ok"]
    examples = [example(case, "a number", score) for case, score in bad]
    check = _check("verdicts", len(tried), len(bad), examples)
    if is_graded and bad and all(score.verdict == "abstain" for _, score in bad):
        check = Check(check.name, "warn", check.cases, check.failed, check.detail, check.examples)
    counts = {v: sum(score.verdict == v for _, score in tried) for v in ("abstain", "timeout", "error")}
    detail = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items() if count)
    return Check(check.name, check.status, check.cases, check.failed, detail, check.examples)


def judge_deadline(
    cases: Sequence[Case], scores: Sequence[Score | None], slowest_s: float, timeout_s: float, per: str
) -> Check:
    """Check that the slowest call takes at most half of the deadline, because in training the machine is busy."""
    tried = [(case, score) for case, score in zip(cases, scores, strict=True) if score is not None]
    late = [(case, score) for case, score in tried if score.verdict == "timeout"]
    detail = f"slowest {per} {slowest_s:.3g} s of {timeout_s:g} s"
    if late:
        examples = [example(case, "a verdict in time", score) for case, score in late]
        return _check("deadline", len(tried), len(late), examples, detail)
    is_slow = slowest_s > timeout_s / 2
    return Check("deadline", "fail" if is_slow else "pass", len(tried), int(is_slow), detail)


def judge_tidy(calls: int, leaked: int) -> Check:
    """Warn about calls that leave something running: only ending the host process stops it, and that costs a
    restart."""
    detail = "each such call costs a new process" if leaked else ""
    return Check("tidy", "warn" if leaked else "pass", calls, leaked, detail)


def same(a: Score, b: Score) -> bool:
    """Return True if both have the same verdict and, up to rounding, the same number."""
    if a.verdict != b.verdict:
        return False
    if a.total is None or b.total is None:
        return a.total is b.total
    return abs(a.total - b.total) <= _TOLERANCE * max(1.0, abs(a.total))


def score_text(score: Score) -> str:
    """Return the number, or the verdict with its reason."""
    if score.total is not None:
        return f"{score.total:g}"
    return f"{score.verdict}: {score.reason}" if score.reason else score.verdict


def example(case: Case, expected: str, score: Score) -> Example:
    """Build a row of the table of failures."""
    text = case.row.completion
    shown = text if len(text) <= _SHOWN_CHARS else "… " + text[-_SHOWN_CHARS:]
    return Example(case.line, case.variant, str(case.row.answer), shown, expected, score_text(score))


def all_pass(checks: Sequence[Check], strict: bool = False) -> bool:
    """Return True if no check failed; with `strict`, a warning counts as a failure."""
    return not any(check.status == "fail" or (strict and check.status == "warn") for check in checks)


def _is(score: Score, expected: float | None) -> bool:
    return (
        score.total is not None
        and expected is not None
        and abs(score.total - expected) <= _TOLERANCE * max(1.0, abs(expected))
    )


def _check(name: str, cases: int, failed: int, examples: Sequence[Example], detail: str = "") -> Check:
    status: Status = "pass" if not failed else "warn" if name in ADVISORY else "fail"
    spread: dict[str, Example] = {}
    for item in examples:  # show one example of each kind first
        spread.setdefault(item.variant, item)
    chosen = [*spread.values(), *(item for item in examples if item not in spread.values())]
    return Check(name, status, cases, failed, detail, tuple(chosen[:_MAX_EXAMPLES]))


def tables(checks: Sequence[Check]) -> list[JsonMapping]:
    """Return the checks as JSON objects."""
    as_json: Callable[[Check], JsonDict] = lambda check: {  # noqa: E731
        "name": check.name,
        "status": check.status,
        "meaning": check.meaning,
        "cases": check.cases,
        "failed": check.failed,
        "detail": check.detail,
        "examples": [vars(item) for item in check.examples],
    }
    return [as_json(check) for check in checks]
