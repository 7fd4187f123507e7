"""The input and the result of a reward.

    score = Score(total=1.3, components={"accuracy": 1.0, "format": 1.0}, verdict="ok", reason="")

An abstention is not a zero: a sample whose verdict is not "ok" leaves its group and is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal  # Any: reference answers and columns are of any class

from rollout.types import SampleGroup

if TYPE_CHECKING:
    import numpy as np

Verdict = Literal["ok", "abstain", "timeout", "error"]


@dataclass(frozen=True)
class Score:
    """The verdict on one sample."""

    total: float | None
    """Weighted sum of the components; None whenever `verdict` is not "ok". Always finite."""
    components: Mapping[str, float | None] = field(default_factory=dict)
    """Unweighted value of each reward by name; None where that one abstained or failed."""
    verdict: Verdict = "ok"
    reason: str = ""
    """Why the verdict is not "ok", or what a reward wants a reader of the samples to know."""
    seconds: float = 0.0
    scale: float = 1.0
    """What rounding errors of `total` are relative to: the largest |weight| × max(1, |value|) of its components. The 1
    stands for the terms inside a reward, which are not known: 0.1 + 0.2 − 0.3 is 5e-17."""
    trace: str = ""
    """The traceback of what the reward raised, with file and line. A process keeps it for the first of several equal
    errors alone."""


@dataclass(frozen=True)
class Needs:
    """What a reward cannot judge without, known from its signature before anything is scored."""

    columns: frozenset[str] = frozenset()
    """Columns of the data that are arguments without a default."""
    answer: bool = False
    """True if it compares with the reference answer."""
    reads: tuple[tuple[str, str], ...] = ()
    """(column, meaning) of columns that it reads where a row has them; the meanings are those of
    `rewards.scoring.needs.MEANINGS`."""


NO_NEEDS = Needs()


@dataclass(frozen=True)
class ScoredGroup:
    """A group with one `Score` per sample, in order."""

    group: SampleGroup
    scores: tuple[Score, ...]

    @property
    def scale(self) -> float:
        """Return the largest `Score.scale` of the samples with a total; 1 without any."""
        return max((score.scale for score in self.scores if score.total is not None), default=1.0)


@dataclass(frozen=True)
class RewardBatch:
    """The input of a native reward function: N completions of one or many prompts. It may change these copies."""

    prompts: Sequence[str]
    completions: Sequence[str]
    """Reply text with the template's prefill in front."""
    completion_ids: Sequence[np.ndarray]
    """(L,) int32 each; empty arrays where only text is known (`grpo reward score`)."""
    answers: Sequence[Any]
    """As the data set has them: text, numbers, lists, None."""
    columns: Mapping[str, Sequence[Any]]
    """Other columns of the data set, each of length N."""
    group_index: Sequence[int]
    """Equal for completions of the same prompt."""
    stage: str
    """"rl", "eval", "sample" or "score"."""
    step: int
    deadline_s: float
    """Seconds this call has before its process is ended and every row becomes a `timeout`."""
