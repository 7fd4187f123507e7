"""One completion with everything that a reward may read, and its JSON form between processes.

A request holds each prompt once (`groups`) and each completion with the number of its group, because columns can be
large (test cases) and a group has many completions.
"""

from __future__ import annotations

import copy
import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any  # Any: reference answers are of any class

import numpy as np

from policies.json_types import JsonDict, JsonMapping
from rewards.types import RewardBatch

_NO_IDS = np.empty(0, dtype=np.int32)


@dataclass(frozen=True)
class RewardRow:
    """The input of a row-wise reward."""

    completion: str
    """Reply text with the template's prefill in front."""
    prompt: str = ""
    """The prompt as the policy read it, with template and worked examples."""
    answer: Any = None
    columns: JsonMapping = field(default_factory=dict)
    completion_ids: np.ndarray = field(default_factory=lambda: _NO_IDS)
    """(L,) int32; empty where only text is known."""
    group_index: int = 0
    """Equal for completions of the same prompt."""
    stage: str = "score"
    step: int = 0

    @property
    def question(self) -> str:
        """The question without template and worked examples, where the data has it; else the prompt."""
        question = self.columns.get("question")
        return question if isinstance(question, str) and question.strip() else self.prompt


def to_batch(rows: Sequence[RewardRow], deadline_s: float) -> RewardBatch:
    """Return the same rows column by column; a column that some rows lack is None there."""
    names = dict.fromkeys(name for row in rows for name in row.columns)
    return RewardBatch(
        prompts=[row.prompt for row in rows],
        completions=[row.completion for row in rows],
        completion_ids=[row.completion_ids for row in rows],
        answers=[row.answer for row in rows],
        columns={name: [row.columns.get(name) for row in rows] for name in names},
        group_index=[row.group_index for row in rows],
        stage=rows[0].stage if rows else "score",
        step=rows[0].step if rows else 0,
        deadline_s=deadline_s,
    )


def encode_rows(rows: Sequence[RewardRow], with_ids: bool) -> JsonDict:
    """Return the JSON form of `rows`. Rows in succession that share the same columns object store their prompt once."""
    groups: list[JsonDict] = []
    encoded: list[list[object]] = []
    last: RewardRow | None = None
    for row in rows:
        if last is None or not _same_prompt(last, row):
            groups.append(
                {
                    "prompt": row.prompt,
                    "answer": row.answer,
                    "columns": dict(row.columns),
                    "index": row.group_index,
                }
            )
        encoded.append([len(groups) - 1, row.completion, row.completion_ids.tolist() if with_ids else []])
        last = row
    first = rows[0] if rows else RewardRow("")
    return {"stage": first.stage, "step": first.step, "groups": groups, "rows": encoded}


def decode_rows(message: JsonMapping) -> list[RewardRow]:
    """Invert `encode_rows`. Every row owns its answer and columns, so a reward may change them."""
    groups = message["groups"]
    rows: list[RewardRow] = []
    for number, completion, ids in message["rows"]:
        group = groups[number]
        fresh = copy.deepcopy(group)
        rows.append(
            RewardRow(
                completion=completion,
                prompt=group["prompt"],
                answer=fresh["answer"],
                columns=fresh["columns"],
                completion_ids=np.asarray(ids, dtype=np.int32),
                group_index=group["index"],
                stage=message["stage"],
                step=message["step"],
            )
        )
    return rows


def dump_line(message: JsonMapping) -> bytes:
    """Return one JSON line, in ASCII so that lone surrogates in model output survive."""
    return json.dumps(message, default=_plain, ensure_ascii=True).encode() + b"\n"


def _plain(value: object) -> object:
    """Return the JSON form of a value that data sets hold beside JSON types."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _same_prompt(a: RewardRow, b: RewardRow) -> bool:
    return (
        a.group_index == b.group_index
        and a.columns is b.columns
        and a.answer is b.answer
        and a.prompt is b.prompt
    )
