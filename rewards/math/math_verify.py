"""Reward `math_verify`: the judgement of the package math-verify alone, called in its best way.

It finds the answer part as `accuracy` does, puts it into `\\boxed{}` and lets math-verify parse and compare. A second
opinion for `[audit]` and the yardstick of benchmarks/math_agreement.py; to train with, take `accuracy`.
"""

from __future__ import annotations

import logging
import threading

from rewards.rows import RewardRow
from rewards.text.extract import answer_text
from rewards.types import Score
from rewards.values import failed

_LIMIT_S = 5
"""math-verify's own deadline, by signal; a host's deadline holds besides."""
_MAX_CHARS = 4096


def math_verify(row: RewardRow) -> Score:
    """1.0 or 0.0; abstains without a reference."""
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
    """Does math-verify find `answer` equal to `reference`? Both are put into a box unless they hold one."""
    from math_verify import parse, verify

    limit = _LIMIT_S if threading.current_thread() is threading.main_thread() else None
    gold, found = (parse(_boxed(str(text)), parsing_timeout=limit) for text in (reference, answer))
    return bool(verify(gold, found, timeout_seconds=limit))


def warm_up() -> None:
    """Load the parser before the first row's deadline runs."""
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    agrees(r"\frac{1}{2}", "0.5")


def _boxed(text: str) -> str:
    return text if "\\boxed" in text else f"\\boxed{{{text.strip()}}}"
