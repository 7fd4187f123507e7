"""Checks that the rewards of a recipe accept a row's own reference answer, so that a right reply can be rewarded.

A reference that no rule can compare (a proof's last sentence, a picture, two answers in one) would give every reply 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from data_recipes.builders.formats.built import Built, Kind
from rewards.config import RewardConfig
from rewards.rows import RewardRow
from rewards.scoring.scorer import Scorer

REWARDS: dict[Kind, str] = {"math": "accuracy", "logic": "accuracy", "stem": "mcq"}
"""The reward that decides each kind of prompt in R1's recipe; code has its tests."""
TIMEOUT_S = 10.0


class AnswerCheck:
    """Scores references as replies; a context, for the rewards run in processes of their own."""

    def __init__(self, workers: int = 1) -> None:
        rewards = {name: RewardConfig(name=name, timeout_s=TIMEOUT_S) for name in REWARDS.values()}
        self._scorers = {name: Scorer([reward], workers) for name, reward in rewards.items()}

    def __enter__(self) -> AnswerCheck:
        for scorer in self._scorers.values():
            scorer.start()
        return self

    def __exit__(self, *_: object) -> None:
        for scorer in self._scorers.values():
            scorer.close()

    def __call__(self, rows: Sequence[Built]) -> list[bool]:
        """Return for each row whether its reward gives its own reference 1; True for kinds without a rule."""
        right = [True] * len(rows)
        for name, scorer in self._scorers.items():
            places = [at for at, row in enumerate(rows) if REWARDS.get(row.kind) == name]
            scores = scorer.score_rows([_as_reply(rows[at]) for at in places]) if places else []
            for at, score in zip(places, scores, strict=True):
                right[at] = score.total == 1.0
        return right


def _as_reply(row: Built) -> RewardRow:
    columns = {"question": row.question, "choices": list(row.choices) or None}
    return RewardRow(
        completion=f"\\boxed{{{row.answer}}}", prompt=row.question, answer=row.answer, columns=columns
    )
