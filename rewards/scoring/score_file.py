"""`grpo reward score NAME --data cases.jsonl --out scores.jsonl`: one verdict for each row of a file, in order.

The file is JSON Lines, also gzipped, or Parquet (rewards/row_files.py); rows of TRL and verl are read as
rewards/plain_rows.py says.

In:  {"completion": "…", "prompt"?: "…", "answer"?: string | number | list | null, further columns}
Out: {"index": 0, "id": …, "score": 1.0 | null, "verdict": "ok", "reason": "", "seconds": 0.001}

A row that cannot be read gets the verdict `error` and the others are scored. `score` is null whenever the verdict
is not ok.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from policies.files import replacing
from policies.json_types import JsonDict, JsonMapping
from rewards.config import RewardConfig
from rewards.llm.config import LlmConfig
from rewards.plain_rows import plain
from rewards.row_files import FileRow, read_file
from rewards.rows import RewardRow
from rewards.scoring.needs import check_rows
from rewards.scoring.scorer import Scorer
from rewards.types import Score
from rewards.values import failed

_MAX_ROWS = 512
_MAX_BYTES = 64 << 20
_OWN_KEYS = ("completion", "prompt", "answer")


@dataclass
class ScoreSummary:
    """A summary of a scored file."""

    rows: int = 0
    verdicts: dict[str, int] = field(
        default_factory=lambda: {"ok": 0, "abstain": 0, "timeout": 0, "error": 0}
    )
    reasons: dict[str, str] = field(default_factory=dict)
    """The first reason of each verdict other than ok."""
    mean: float | None = None
    """Of the finite scores; None if there are none."""
    seconds: float = 0.0

    @property
    def is_failure(self) -> bool:
        """True if there are rows and none could be scored: each ended in an error or at its deadline."""
        return 0 < self.rows == self.verdicts["error"] + self.verdicts["timeout"]


@dataclass(frozen=True)
class _Line:
    index: int
    id: object
    row: RewardRow | None
    problem: str


def score_file(
    name: str,
    data: Path,
    out: Path,
    params: JsonMapping | None = None,
    *,
    llm: LlmConfig | None = None,
    workers: int | None = None,
    timeout_s: float = 10.0,
) -> ScoreSummary:
    """Score every row of `data` with the reward `name` and write `out` whole or not at all.

    Args:
        llm: the language model that the reward asks, with the address of its server.
        workers: reward processes; None: one per core, at most 8.
        timeout_s: deadline of a row (of the call for list-wise functions).
    Raises:
        RewardLoadError: the reward cannot be loaded, or needs a column that the file lacks; `out` is not touched.
        OSError: `data` cannot be read or `out` cannot be written.
        ValueError: `data` is a damaged Parquet file.
    """
    started = time.perf_counter()
    config = RewardConfig(name=name, params=dict(params or {}), llm=llm, timeout_s=timeout_s)
    workers = workers or min(os.cpu_count() or 1, 8)
    summary, total = ScoreSummary(), 0.0
    with (
        Scorer([config], workers) as scorer,
        replacing(out) as temporary,
        temporary.open("w", encoding="utf-8") as target,
    ):
        (needs,) = scorer.needs
        for lines in _chunks(data):
            readable = [line.row for line in lines if line.row is not None]
            if not summary.rows:
                check_rows(name, needs, [(row.answer, row.columns) for row in readable], str(data))
            scores = iter(scorer.score_rows(readable))
            for line in lines:
                score = next(scores) if line.row is not None else failed("error", line.problem)
                record = _record(line, score, name)
                target.write(json.dumps(record, ensure_ascii=True, default=str) + "\n")
                summary.rows += 1
                summary.verdicts[score.verdict] += 1
                if score.verdict != "ok":
                    summary.reasons.setdefault(score.verdict, f"{record['reason']}\n{score.trace}".rstrip())
                total += score.total or 0.0
    summary.mean = total / summary.verdicts["ok"] if summary.verdicts["ok"] else None
    summary.seconds = time.perf_counter() - started
    return summary


def _line(index: int, row: FileRow) -> _Line:
    if row.record is None:
        return _Line(index, None, None, row.problem)
    record = plain(row.record)
    identity = record.get("id", index)
    if not isinstance(completion := record.get("completion"), str):
        found = "is missing" if "completion" not in record else f"is {type(completion).__name__}"
        return _Line(index, identity, None, f"'completion' {found}, expected a string")
    if not isinstance(prompt := record.get("prompt") or "", str):
        return _Line(index, identity, None, f"'prompt' is {type(prompt).__name__}, expected a string")
    answer = record.get("answer")
    if not isinstance(answer, str | int | float | list | None):
        return _Line(
            index,
            identity,
            None,
            f"'answer' is {type(answer).__name__}, expected string, number, list or null",
        )
    columns = {key: value for key, value in record.items() if key not in _OWN_KEYS}
    return _Line(index, identity, RewardRow(completion, prompt, answer, columns, group_index=index), "")


def _chunks(data: Path) -> Iterator[list[_Line]]:
    chunk: list[_Line] = []
    size = 0
    for index, row in enumerate(read_file(data)):
        chunk.append(_line(index, row))
        size += row.size
        if len(chunk) >= _MAX_ROWS or size >= _MAX_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _record(line: _Line, score: Score, name: str) -> JsonDict:
    prefix = f"{name.rpartition(':')[2]}: "
    return {
        "index": line.index,
        "id": line.id,
        "score": score.total if score.verdict == "ok" else None,
        "verdict": score.verdict,
        "reason": score.reason.removeprefix(prefix),
        "seconds": round(score.seconds, 6),
    }
