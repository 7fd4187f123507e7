"""Read files of judgements into items of the reward-model trainer. Imports no torch.

A bad row stops the stage and is reported with file and line; an overlong one is left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from data_recipes.bad_rows import BadRows
from data_recipes.config import DatasetConfig
from data_recipes.errors import DataError
from data_recipes.prompts.rows import read_rows
from grpo.config.reward_model import RewardModelConfig, RewardModelData
from policies.json_types import JsonMapping
from policies.tokenizer import Tokenizer
from rewards.model.text import Reads, document, judged_text


@dataclass(frozen=True)
class Pair:
    """Two judged replies to one prompt; (L,) int32 each, prompt included."""

    id: str
    chosen: np.ndarray
    rejected: np.ndarray


@dataclass(frozen=True)
class Labelled:
    """One labelled response; (L,) int32, prompt included."""

    id: str
    token_ids: np.ndarray
    label: float


Item = TypeVar("Item", Pair, Labelled)


def read_judgements(
    config: RewardModelConfig, tokenizer: Tokenizer
) -> tuple[list[Pair] | list[Labelled], dict[str, int]]:
    """Read all items of the recipe's file.

    A pair whose sides are the same once cut to the judged text teaches nothing; it is left out as "identical".

    Returns:
        The items, and counts by name: "read", "too_long", "identical", and "bad_rows" if bad rows were left out.

    Raises:
        DataError: no file, no usable row, or rows without their columns; names file, line and fix.
    """
    if config.objective == "pairwise":
        return _read(
            config.data, lambda where, row: _pair(where, row, tokenizer, config.reads), _pair_problem
        )
    return _read(config.data, lambda where, row: _labelled(where, row, tokenizer, config.reads), _problem)


def _read(
    data: RewardModelData,
    convert: Callable[[str, JsonMapping], Item],
    problem: Callable[[Item, int], str | None],
) -> tuple[list[Item], dict[str, int]]:
    items: list[Item] = []
    counts = {"read": 0, "too_long": 0, "identical": 0}
    bad = BadRows()
    for where, row in read_rows(DatasetConfig(source=data.source), on_bad=bad.add):
        counts["read"] += 1
        try:
            item = convert(where, row)
        except DataError as error:
            bad.add(error)
            continue
        if name := problem(item, data.max_tokens):
            counts[name] += 1
        else:
            items.append(item)
    bad.settle(data.bad_rows, data.source, 'or set data.bad_rows = "skip"')
    if bad.count:
        counts["bad_rows"] = bad.count
    if not items:
        raise DataError(f"{data.source}: no example left of {counts}; raise data.max_tokens, or judge more")
    return items, counts


def _pair(where: str, row: JsonMapping, tokenizer: Tokenizer, reads: Reads) -> Pair:
    prompt, chosen, rejected = (_text(where, row, name) for name in ("prompt", "chosen", "rejected"))
    sides = [_ids(tokenizer, prompt, judged_text(side, reads, prompt)) for side in (chosen, rejected)]
    return Pair(where, *sides)


def _labelled(where: str, row: JsonMapping, tokenizer: Tokenizer, reads: Reads) -> Labelled:
    prompt, completion = _text(where, row, "prompt"), _text(where, row, "completion")
    label = row.get("label")
    if not isinstance(label, int | float) or label not in (0, 1):
        raise DataError(f"{where}: label = {label!r}; expected 1 (good, safe, passed) or 0")
    return Labelled(where, _ids(tokenizer, prompt, judged_text(completion, reads, prompt)), float(label))


def _pair_problem(pair: Pair, limit: int) -> str | None:
    if max(len(pair.chosen), len(pair.rejected)) > limit:
        return "too_long"
    return "identical" if np.array_equal(pair.chosen, pair.rejected) else None


def _problem(item: Labelled, limit: int) -> str | None:
    return "too_long" if len(item.token_ids) > limit else None


def _text(where: str, row: JsonMapping, name: str) -> str:
    if not isinstance(value := row.get(name), str):
        raise DataError(f"{where}: {name} = {value!r}; expected text (it has {', '.join(map(str, row))})")
    if name == "prompt" and not value.strip():
        raise DataError(f"{where}: prompt is empty")
    return value


def _ids(tokenizer: Tokenizer, prompt: str, reply: str) -> np.ndarray:
    return np.asarray(document(tokenizer, prompt, reply), dtype=np.int32)
