"""Read data sets of judgements into items of the reward-model trainer. Imports no torch.

A bad row stops the stage and is reported with file and line; an overlong one is left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from data_recipes.bad_rows import BadRows
from data_recipes.chat import ChatKeys, template_variables, to_messages
from data_recipes.config import source_name
from data_recipes.errors import DataError
from data_recipes.fields import MISSING, ArrowRow, look_up
from data_recipes.prompts.rows import PeekedRows
from data_recipes.shapes import CHAT, Layout, kind_of, recognise
from data_recipes.templates import render_chat
from data_recipes.tool_calls import with_calls
from data_recipes.unwritten import refuse_unwritten
from grpo.config.reward_model import RewardModelConfig, RewardModelData
from policies.errors import PolicyError
from policies.json_types import JsonDict, JsonMapping
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
) -> tuple[list[Pair] | list[Labelled], dict[str, int], str]:
    """Read all items of the recipe's data set.

    A pair whose sides are the same once cut to the judged text teaches nothing; it is left out as "identical".

    Returns:
        The items; counts by name: "read", "too_long", "identical", and "bad_rows" if bad rows were left out; and how
        the rows were read, for the screen.

    Raises:
        DataError: no data, no usable row, or rows without their columns; names file, line and fix.
    """
    data = config.data
    peeked = PeekedRows(data.rows)
    is_pairs = config.objective == "pairwise"
    layout = recognise("pairs" if is_pairs else "labels", peeked.first, data.given, source_name(data.source))
    keys = ChatKeys(data.tools_field, data.template_fields, data.chat_template_kwargs)
    reader = _Reader(layout, tokenizer, config.reads, keys)
    how = f"{source_name(data.source)}, {layout.show()}"
    if is_pairs:
        return *_read(data, peeked, reader.pair, _pair_problem), how
    return *_read(data, peeked, reader.labelled, _problem), how


def _read(
    data: RewardModelData,
    rows: PeekedRows,
    convert: Callable[[str, JsonMapping], Item],
    problem: Callable[[Item, int], str | None],
) -> tuple[list[Item], dict[str, int]]:
    items: list[Item] = []
    counts = {"read": 0, "too_long": 0, "identical": 0}
    bad = BadRows()
    name_of_data = source_name(data.source)
    for where, row in rows.read(bad.add):
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
    bad.settle(data.bad_rows, name_of_data, 'or set data.bad_rows = "skip"')
    if bad.count:
        counts["bad_rows"] = bad.count
    if not items:
        raise DataError(f"{name_of_data}: no example left of {counts}; raise data.max_tokens, or judge more")
    return items, counts


class _Reader:
    """Turns rows into items."""

    def __init__(self, layout: Layout, tokenizer: Tokenizer, reads: Reads, keys: ChatKeys) -> None:
        self._fields, self._tokenizer, self._reads, self._keys = layout.fields, tokenizer, reads, keys

    def pair(self, where: str, row: JsonMapping) -> Pair:
        """Return the two sides of a row."""
        prompt, sides = self._judged(where, row, ("chosen", "rejected"))
        return Pair(where, *(self._ids(prompt, side) for side in sides))

    def labelled(self, where: str, row: JsonMapping) -> Labelled:
        """Return the labelled reply of a row."""
        prompt, (completion,) = self._judged(where, row, ("completion",))
        name = self._fields["label"]
        label = look_up(row, name)
        if not isinstance(label, int | float) or label not in (0, 1):
            shown = None if label is MISSING else label
            raise DataError(f"{where}: {name} = {shown!r}; expected 1 (good, safe, passed) or 0")
        return Labelled(where, self._ids(prompt, completion), float(label))

    def _judged(self, where: str, row: JsonMapping, roles: Sequence[str]) -> tuple[str, list[str]]:
        """Return the rendered prompt and the replies."""
        names = [self._fields[role] for role in roles]
        values = [look_up(row, name) for name in names]
        prompt = look_up(row, self._fields["prompt"]) if "prompt" in self._fields else None
        if not any(kind_of(value) in CHAT for value in (prompt, *values)):
            text = _text(where, row, self._fields.get("prompt", "prompt"))
            if not text.strip():
                raise DataError(f"{where}: {self._fields['prompt']} is empty")
            return text, [_text(where, row, name) for name in names]
        sides = [self._messages(where, name, value, row) for name, value in zip(names, values, strict=True)]
        shared = 0
        if sides[0][0]["role"] != "assistant":  # whole conversations: the prompt is what they share
            shared = min(len(side) for side in sides) - 1
            if any(side[:shared] != sides[0][:shared] for side in sides):
                raise DataError(f"{where}: {' and '.join(names)} differ before their last turns")
        replies = [side[shared:] for side in sides]
        for name, reply in zip(names, replies, strict=True):
            if len(reply) != 1 or reply[0]["role"] != "assistant" or reply[0].get("tool_calls"):
                roles_there = ", ".join(message["role"] for message in reply)
                raise DataError(
                    f"{where}: {name} has the messages {roles_there} after the prompt; expected one reply of the "
                    "assistant, without tool_calls"
                )
        before = sides[0][:shared] if shared else self._messages(where, "prompt", prompt, row, role="user")
        variables = template_variables(where, row, self._keys, self._tokenizer)
        name = names[0] if shared else "prompt"
        before = with_calls(where, name, before, variables, self._tokenizer)
        refuse_unwritten(where, name, before, variables, self._tokenizer)
        try:
            rendered = render_chat(before, self._tokenizer, **variables)
        except (PolicyError, DataError) as error:
            raise DataError(f"{where}: {error}") from error
        return rendered.text, [str(reply[0]["content"]) for reply in replies]

    def _messages(
        self, where: str, name: str, value: object, row: JsonMapping, role: str = "assistant"
    ) -> list[JsonDict]:
        if isinstance(value, str) and value:
            return [{"role": role, "content": value}]
        return to_messages(where, name, None if value is MISSING else value, isinstance(row, ArrowRow))

    def _ids(self, prompt: str, reply: str) -> np.ndarray:
        ids = document(self._tokenizer, prompt, judged_text(reply, self._reads, prompt))
        return np.asarray(ids, dtype=np.int32)


def _pair_problem(pair: Pair, limit: int) -> str | None:
    if max(len(pair.chosen), len(pair.rejected)) > limit:
        return "too_long"
    return "identical" if np.array_equal(pair.chosen, pair.rejected) else None


def _problem(item: Labelled, limit: int) -> str | None:
    return "too_long" if len(item.token_ids) > limit else None


def _text(where: str, row: JsonMapping, name: str) -> str:
    value = look_up(row, name)
    if not isinstance(value, str):
        shown = None if value is MISSING else value
        raise DataError(f"{where}: {name} = {shown!r}; expected text (it has {', '.join(map(str, row))})")
    return value
