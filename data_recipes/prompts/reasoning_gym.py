"""Reads tasks of the reasoning-gym package as a source, e.g. "reasoning-gym:chain_sum".

    params = { count = 2048, min_terms = 2, max_terms = 3, max_digits = 2 }

`count` is the number of rows; the other keys are the task's config. Item i is a pure function of (seed, i). Two indices
can give the same question, and two seeds the same items, so the split is a hash of the question: one in ten is held
out, for every seed and difficulty.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any  # Any: reasoning-gym has no types

from data_recipes.errors import DataError
from policies.json_types import JsonDict, JsonMapping

HELD_OUT_SHARE = 10
"""One question in this many is held out."""
DEFAULT_COUNT = 2048
PATIENCE = 50
"""Items drawn per requested row before a task counts as exhausted."""


def is_held_out(question: str) -> bool:
    """Return True if the question belongs to the held-out split."""
    digest = hashlib.sha256(f"reasoning-gym/{question}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_SHARE == 0


def gym_rows(task: str, split: str, seed: int, params: JsonMapping) -> Iterator[tuple[str, JsonDict]]:
    """Yield different questions of one split, in the order of their indices.

    Args:
        task: name in reasoning-gym, e.g. "chain_sum".
        split: "train" or "held-out".
        seed: seed of the task.
        params: `count` and keys of the task's config.

    Yields:
        (location, row) with question, answer, index and the task's scalar metadata.

    Raises:
        DataError: task or parameter is unknown, the task rejects a value, or it has fewer questions than `count`.
    """
    name = f"reasoning-gym:{task}"
    options = dict(params)
    count = options.pop("count", DEFAULT_COUNT)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise DataError(f"{name}: params.count = {count!r}; give a whole number above 0")
    dataset = _create(name, task, options, seed, count * PATIENCE)
    seen: set[str] = set()
    for index in range(count * PATIENCE):
        item = dataset[index]
        question = item["question"]
        if question in seen or is_held_out(question) != (split == "held-out"):
            continue
        seen.add(question)
        metadata = {
            key: value for key, value in item["metadata"].items() if isinstance(value, str | int | float)
        }
        row = {**metadata, "question": question, "answer": item["answer"], "index": index}
        yield f"{name}, index {index}", row
        if len(seen) == count:
            return
    raise DataError(
        f"{name}: {len(seen)} different {split} questions, {count * PATIENCE} draws; params.count = {count}: "
        "lower it or widen the task's difficulty"
    )


def _create(name: str, task: str, options: JsonDict, seed: int, size: int) -> Any:
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if task not in DATASETS:
        raise DataError(f"{name}: no such task; there are {', '.join(sorted(DATASETS))}")
    known = {f.name for f in fields(DATASETS[task][1])} - {"seed", "size"}
    if unknown := sorted(options.keys() - known):
        raise DataError(
            f"{name}: unknown params.{unknown[0]}; {task} takes count, {', '.join(sorted(known))}"
        )
    try:
        return reasoning_gym.create_dataset(task, seed=seed, size=size, **options)
    except (AssertionError, TypeError, ValueError) as error:
        raise DataError(f"{name}: params {options} refused: {error}") from error
