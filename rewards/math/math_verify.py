"""Reward `math_verify`: the verdict of the package math-verify alone, called in the way that suits it best.

It takes the last `<answer>` or box as the answer, puts it into `\\boxed{}` and lets math-verify parse and compare.
It is a second opinion for `[audit]` and the baseline of benchmarks/math_agreement.py; for training, use `accuracy`.
"""

from __future__ import annotations

import logging
import threading

from rewards.rows import RewardRow
from rewards.text.extract import answer_text
from rewards.types import Score
from rewards.values import failed

_LIMIT_S = 5
"""Timeout that math-verify enforces by signal, in seconds; a reward host's timeout applies as well."""
_MAX_CHARS = 4096


def math_verify(row: RewardRow) -> Score:
    """Return 1.0 if math-verify finds the answer equal to a reference, else 0.0; abstain if there is no reference."""
    if row.answer is None or row.answer == "" or row.answer == []:
        return failed("abstain", "no reference answer")
    answer = answer_text(row.completion)
    if answer is None:
        return Score(0.0, reason="no answer found")
    if len(answer) > _MAX_CHARS:
        return Score(0.0, reason=f"answer is longer than {_MAX_CHARS} characters")
    references = row.answer if isinstance(row.answer, list) else [row.answer]
    return Score(float(any(agrees(reference, answer) for reference in references)))


def agrees(reference: object, answer: str) -> bool:
    """Return whether math-verify finds `answer` equal to `reference`. Each is put into a box unless it has one."""
    from math_verify import parse, verify

    limit = _LIMIT_S if threading.current_thread() is threading.main_thread() else None
    gold, found = (parse(_boxed(str(text)), parsing_timeout=limit) for text in (reference, answer))
    return bool(verify(gold, found, timeout_seconds=limit))


def warm_up() -> None:
    """Load the parser now, so that loading does not count against the first row's timeout."""
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    agrees(r"\frac{1}{2}", "0.5")


def _boxed(text: str) -> str:
    return text if "\\boxed" in text else f"\\boxed{{{text.strip()}}}"
