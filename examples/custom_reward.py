"""Score completions with a reward of your own beside a built-in one, as a training run does.

    python examples/custom_reward.py

A recipe names the same function: name = "examples/custom_reward.py:short_enough".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewards.config import RewardConfig
from rewards.rows import RewardRow
from rewards.scoring.scorer import Scorer

COMPLETIONS = (
    "<think>17 + 25 = 42</think> <answer>42</answer>",
    "<think>" + "let me see, " * 20 + "</think> <answer>42</answer>",
    "<think>17 + 25 = 43</think> <answer>43</answer>",
)


def short_enough(completions: Sequence[str], max_words: int = 20, **_: Any) -> list[float]:
    """Return 1.0 for each completion of at most `max_words` words, else 0.0."""
    return [float(len(text.split()) <= max_words) for text in completions]


def main() -> None:
    """Print the total and the components of each completion."""
    rewards = [
        RewardConfig(name="accuracy"),
        RewardConfig(name=f"{__file__}:short_enough", weight=0.5, params={"max_words": 12}),
    ]
    rows = [RewardRow(completion=text, prompt="17 + 25 =", answer="42") for text in COMPLETIONS]
    with Scorer(rewards) as scorer:  # each plug-in runs in a process of its own, under a deadline
        scores = scorer.score_rows(rows)
    for text, score in zip(COMPLETIONS, scores, strict=True):
        print(f"{score.verdict} total {score.total} {dict(score.components)} {text[:40]!r}")


if __name__ == "__main__":
    main()
