"""What the columns of the data mean to the rewards that read them, so that no two read one column differently.

    problems = find_misread(rewards, needs, prompts)      one line for each column that is read as what it is not

A program's language and the language of a text are both called "language" in public data sets. A reward that took one
for the other would abstain on every row, and say so in the samples alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rewards.config import RewardConfig
from rewards.sandbox.types import LANGUAGES
from rewards.scoring.scorer import applies
from rewards.types import Needs
from rollout.types import Prompt

NATURAL_LANGUAGES = ("en", "zh")
_WORD = "lang"
"""Part of the name of every column that may hold a language."""


def is_natural_language(value: object) -> bool:
    """Tell if a value names a natural language that rewards know, with or without a region (en-US, zh_CN)."""
    return str(value).lower().replace("_", "-").split("-")[0] in NATURAL_LANGUAGES


def is_programming_language(value: object) -> bool:
    """Tell if a value names a language that the sandbox runs."""
    return str(value).lower() in LANGUAGES


MEANINGS: dict[str, Callable[[object], bool]] = {
    "natural language": is_natural_language,
    "programming language": is_programming_language,
}
"""What a column's value may stand for, with a check of a value; no value passes two of them."""


def find_misread(
    rewards: Sequence[RewardConfig], needs: Sequence[Needs], prompts: Iterable[Prompt]
) -> list[str]:
    """Return what is wrong with the columns that the rewards read, one line each with the fix; each problem once.

    Args:
        rewards, needs: parallel.
        prompts: of all data sets; a reward reads those that it applies to, at whatever step.
    """
    problems = dict.fromkeys(_conflicts(rewards, needs))
    for prompt in prompts:
        for reward, need in zip(rewards, needs, strict=True):
            if not applies(reward, prompt.columns, reward.start_step):
                continue
            for column, meaning in need.reads:
                if problem := _misread(reward.name, column, meaning, prompt):
                    problems.setdefault(problem)
    return list(problems)


def _conflicts(rewards: Sequence[RewardConfig], needs: Sequence[Needs]) -> Iterable[str]:
    first: dict[str, tuple[str, str]] = {}
    for reward, need in zip(rewards, needs, strict=True):
        for column, meaning in need.reads:
            other, other_meaning = first.setdefault(column, (reward.name, meaning))
            if other_meaning != meaning:
                yield (
                    f"rewards {other!r} and {reward.name!r} read the column {column!r} differently: as "
                    f"{other_meaning} and as {meaning}; leave one of them out"
                )


def _misread(reward: str, column: str, meaning: str, prompt: Prompt) -> str | None:
    """Return the problem if the column holds another meaning's value, or if only another column holds this one's."""
    columns = {name: value for name, value in prompt.columns.items() if value not in (None, "")}
    if column not in columns:
        for name, value in columns.items():
            if _WORD in name.lower() and MEANINGS[meaning](value):
                return (
                    f"reward {reward!r} reads the {meaning} from the column {column!r}, but {prompt.source} has it in "
                    f"{name!r} ({str(value)!r}); set columns = {{ {column} = {name!r} }} in the section of this data"
                ).replace("'", '"')
        return None
    value = columns[column]
    for other, accepts in MEANINGS.items():
        if other != meaning and accepts(value):
            return (
                f"reward {reward!r} reads the column {column!r} as {meaning}, but {prompt.source} has a {other} there "
                f"({str(value)!r}); rename the column in the section of this data with columns = {{ NEW = "
                f"{column!r} }}, or limit the reward with kinds"
            ).replace("'", '"')
    return None
