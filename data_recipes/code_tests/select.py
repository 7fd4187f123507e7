"""Which candidate tests are worth keeping. Pure.

DeepSeek-R1 (2501.12948 v2, code data): tests are generated, those that correct programs fail are dropped, and of the
rest those are kept that break wrong programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Selection:
    """What became of the tests; all by their number."""

    kept: tuple[int, ...]
    """In the candidates' order."""
    unfit: tuple[int, ...]
    """Phase 1: a correct program fails them."""
    idle: tuple[int, ...]
    """Phase 2: no wrong program fails them."""
    spare: tuple[int, ...]
    """Good, and more than were asked for."""
    survivors: tuple[int, ...]
    """Wrong programs that pass all that is kept: the tests are too weak, or the program is right after all."""


def select_tests(
    correct: Sequence[Sequence[bool]], wrong: Sequence[Sequence[bool]], most: int | None = None
) -> Selection:
    """Two phases, then at most `most` tests: first the one that breaks most of the wrong programs still whole.

    Args:
        correct: [program][test], does it pass. At least one program.
        wrong: the same of wrong programs. Empty: nothing is known of them, and phase 2 keeps all.
        most: tests to keep at most; None: all.

    Raises:
        ValueError: no correct program, or rows of different lengths.
    """
    if not correct:
        raise ValueError("no correct program: nothing says which tests are right")
    count = len(correct[0])
    if any(len(row) != count for row in (*correct, *wrong)):
        raise ValueError("every program needs a result for every test")
    fit = [t for t in range(count) if all(row[t] for row in correct)]
    breaks = {t: {w for w, row in enumerate(wrong) if not row[t]} for t in fit}
    good = [t for t in fit if breaks[t] or not wrong]
    kept = good if most is None else _strongest(good, breaks, most)
    return Selection(
        kept=tuple(kept),
        unfit=tuple(t for t in range(count) if t not in breaks),
        idle=tuple(t for t in fit if t not in good),
        spare=tuple(t for t in good if t not in kept),
        survivors=tuple(w for w in range(len(wrong)) if not any(w in breaks[t] for t in kept)),
    )


def _strongest(tests: Sequence[int], breaks: dict[int, set[int]], most: int) -> list[int]:
    whole = set().union(*(breaks[t] for t in tests)) if tests else set()
    left, chosen = list(tests), list[int]()
    while left and len(chosen) < most:
        best = max(left, key=lambda t: (len(breaks[t] & whole), len(breaks[t]), -t))
        chosen.append(best)
        left.remove(best)
        whole -= breaks[best]
    return sorted(chosen)
