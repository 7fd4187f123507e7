"""Majority voting by value: 1/2 and 0.5 are one vote, a sample without an answer is none.

    ballots ─▶ answers spelled alike are one vote ─▶ spellings of one value are one vote ─▶ the class with most votes

Spellings are compared by value only while the outcome is open, in rounds over all problems, so that the process that
compares (`rewards.math.votes`) is asked in large calls; integers need no process at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rewards.hosts.pool import HostPool, HostSpec
from rewards.math.numbers import read_integer
from rewards.rows import RewardRow

Pair = tuple[str, str]
Equality = Callable[[Sequence[Pair]], list[bool | None]]
"""Tells for each pair of answers whether they have one value; None: not found out."""

COMPARISON = "rewards.math.votes:SameValue"
"""The function that compares, loaded in a process of its own."""
BUDGET_S = 60.0
"""Wall time for comparing the answers of one evaluation."""
TIMEOUT_S = 4.0
"""Deadline of one pair, enforced from outside."""
MEMORY_BYTES = 4 << 30
PAIRS_PER_CALL = 128
MAX_CHARS = 2000
"""Longer answers are compared as text alone, as the reward does."""


@dataclass(frozen=True)
class Election:
    """The outcome of a vote on several problems."""

    winners: list[int | None]
    """By problem: index of the first sample with the winning class's most frequent spelling; None: nobody voted."""
    undecided: int
    """Pairs of spellings for which the comparison gave no verdict; they count as different votes."""


def elect(ballots: Sequence[Sequence[str | None]], equal: Equality) -> Election:
    """Find the most frequent answer of each problem.

    A spelling joins the class whose most frequent spelling it equals. Of classes with equally many votes, the one wins
    whose first vote came first.

    Args:
        ballots: by problem, the answer of each sample; None, or blank text, is no vote.
        equal: compares by value; asked about pairs of different spellings, the more frequent one first.
    """
    counts = [_Count(answers) for answers in ballots]
    undecided = 0
    while asked := [(count, pairs) for count in counts if (pairs := count.next_pairs())]:
        verdicts = iter(equal([pair for _, pairs in asked for pair in pairs]))
        for count, pairs in asked:
            found = [next(verdicts) for _ in pairs]
            undecided += found.count(None)
            count.join([verdict is True for verdict in found])
    return Election([count.winner() for count in counts], undecided)


def spelling(answer: str) -> str:
    """Return the cheap key of an answer: the value of a plain integer, else the text with single spaces."""
    text = " ".join(answer.split())
    integer = read_integer(text)
    return text if integer is None else str(integer)


@dataclass
class _Class:
    votes: int
    first: int
    """Index of the first sample that voted for it."""
    spelled: int
    """Index of the first sample with its most frequent spelling."""


@dataclass
class _Spelling:
    text: str
    votes: int
    first: int


class _Count:
    """The count of one problem: spellings that wait for a class, the most frequent first."""

    def __init__(self, answers: Sequence[str | None]) -> None:
        found: dict[str, _Spelling] = {}
        for index, answer in enumerate(answers):
            if answer is not None and answer.strip():
                key = spelling(answer)
                found.setdefault(key, _Spelling(key, 0, index)).votes += 1
        self._waiting = sorted(found.values(), key=lambda s: (-s.votes, s.first))
        self._classes: list[_Class] = []
        self._asked: list[_Spelling] = []
        """What the last `next_pairs` asked to compare with the head of the newest class."""

    def next_pairs(self) -> list[Pair]:
        """Open classes until there is something to compare, and return the pairs; [] when the outcome is certain."""
        while self._waiting and not self._is_decided():
            head = self._waiting.pop(0)
            self._classes.append(_Class(head.votes, head.first, head.first))
            if len(self._classes) == 1 and self._is_decided():
                break  # of later classes, which are smaller, one may still grow past the best
            is_integer = read_integer(head.text) is not None
            self._asked = [
                s
                for s in self._waiting
                if not (is_integer and read_integer(s.text) is not None)
                and len(head.text) <= MAX_CHARS
                and len(s.text) <= MAX_CHARS
            ]
            if self._asked:
                return [(head.text, s.text) for s in self._asked]
        return []

    def join(self, verdicts: Sequence[bool]) -> None:
        """Take the answers to the pairs of `next_pairs` into account."""
        newest = self._classes[-1]
        for other, is_equal in zip(self._asked, verdicts, strict=True):
            if is_equal:
                newest.votes += other.votes
                newest.first = min(newest.first, other.first)
                self._waiting.remove(other)

    def winner(self) -> int | None:
        """Return the sample that stands for the class with most votes; None if nobody voted."""
        if not self._classes:
            return None
        return max(self._classes, key=lambda c: (c.votes, -c.first)).spelled

    def _is_decided(self) -> bool:
        """True if a class that grows no more has more votes than all that wait could bring together."""
        return max((c.votes for c in self._classes), default=0) > sum(s.votes for s in self._waiting)


@dataclass
class ValueEquality:
    """An `Equality` by the project's own mathematics, in a process that a hang or a crash cannot outlive.

    The process starts with the first pair; leaving the `with` block ends it.
    """

    budget_s: float = BUDGET_S
    now: Callable[[], float] = time.monotonic
    _known: dict[Pair, bool | None] = field(default_factory=dict)
    _pool: HostPool | None = None
    _deadline: float | None = None

    def __enter__(self) -> ValueEquality:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.close()

    def __call__(self, pairs: Sequence[Pair]) -> list[bool | None]:
        """Compare; pairs for which no time is left get None."""
        if self._deadline is None:
            self._deadline = self.now() + self.budget_s
        new = list(dict.fromkeys(pair for pair in pairs if pair not in self._known))
        for start in range(0, len(new), PAIRS_PER_CALL):
            if self.now() >= self._deadline:
                break
            part = new[start : start + PAIRS_PER_CALL]
            self._known |= zip(part, self._compare(part), strict=True)
        return [self._known.get(pair) for pair in pairs]

    def _compare(self, pairs: Sequence[Pair]) -> list[bool | None]:
        if self._pool is None:
            spec = HostSpec(COMPARISON, {}, TIMEOUT_S, MEMORY_BYTES)
            self._pool = HostPool(spec, workers=1)
            self._pool.start()
        scores = self._pool.score([RewardRow(completion=b, answer=a) for a, b in pairs])
        return [score.total == 1.0 if score.verdict == "ok" else None for score in scores]
