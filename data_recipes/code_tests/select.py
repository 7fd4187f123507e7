"""Selects candidate tests by the results of correct and wrong programs.

As in DeepSeek-R1 (2501.12948 v2, code data), tests that correct programs fail are dropped; of the others, those that
some wrong program fails are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Selection:
    """The outcome of a selection; tests and programs by their index."""

    kept: tuple[int, ...]
    """Selected tests, in the candidates' order."""
    unfit: tuple[int, ...]
    """Tests dropped in phase 1: a correct program fails them."""
    idle: tuple[int, ...]
    """Tests dropped in phase 2: no wrong program fails them."""
    spare: tuple[int, ...]
    """Good tests beyond the requested number."""
    survivors: tuple[int, ...]
    """Wrong programs that pass all kept tests: the tests are too weak, or the program is correct after all."""


def select_tests(
    correct: Sequence[Sequence[bool]], wrong: Sequence[Sequence[bool]], most: int | None = None
) -> Selection:
    """Select tests in two phases, then greedily at most `most`: next the test that rejects most remaining programs.

    Args:
        correct: [program][test], True if the program passes; at least one program.
        wrong: the same for wrong programs; if empty, phase 2 keeps all tests.
        most: maximum number of tests; None keeps all.

    Raises:
        ValueError: there is no correct program, or rows have different lengths.
    """
    if not correct:
        raise ValueError("no correct program: it is unknown which tests are right")
    count = len(correct[0])
    if any(len(row) != count for row in (*correct, *wrong)):
        raise ValueError("every program needs a result for every test")
    fit = [t for t in range(count) if all(row[t] for row in correct)]
    rejects = {t: {w for w, row in enumerate(wrong) if not row[t]} for t in fit}
    good = [t for t in fit if rejects[t] or not wrong]
    kept = good if most is None else _strongest(good, rejects, most)
    return Selection(
        kept=tuple(kept),
        unfit=tuple(t for t in range(count) if t not in rejects),
        idle=tuple(t for t in fit if t not in good),
        spare=tuple(t for t in good if t not in kept),
        survivors=tuple(w for w in range(len(wrong)) if not any(w in rejects[t] for t in kept)),
    )


def _strongest(tests: Sequence[int], rejects: dict[int, set[int]], most: int) -> list[int]:
    passing = set().union(*(rejects[t] for t in tests)) if tests else set()
    left, chosen = list(tests), list[int]()
    while left and len(chosen) < most:
        best = max(left, key=lambda t: (len(rejects[t] & passing), len(rejects[t]), -t))
        chosen.append(best)
        left.remove(best)
        passing -= rejects[best]
    return sorted(chosen)
