"""Sampled completions on disk: one Parquet file per phase and per evaluation, a row per sample.

    samples/step-000012.parquet      the phase whose last update was the 12th
    eval/step-000000.parquet         held-out samples of the policy before any update

Columns, in this order (`SCHEMA`, then one float column per reward component, null where it gave no value).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewards.types import ScoredGroup

if TYPE_CHECKING:
    import pyarrow

SCHEMA: dict[str, str] = {
    "step": "int64",  # updates done when the phase ended; for an evaluation, of the policy evaluated
    "stage": "string",  # "rl" or "eval"
    "prompt_id": "string",
    "index": "int32",  # place in the group
    "prompt": "string",  # as the policy read it
    "completion": "string",
    "answer": "string",  # reference answer; JSON where it is not a string, null where there is none
    "total": "float64",  # null if the verdict is not "ok"
    "verdict": "string",
    "reason": "string",
    "advantage": "float64",  # null for a sample that did not train
    "discarded": "bool",  # true where dynamic sampling drew the group and left it out of training
    "finish_reason": "string",
    "tokens": "int32",
    "version_first": "int64",  # policy version that sampled the first token …
    "version_last": "int64",  # … and the last
    "seed": "int64",
    "mean_logprob": "float64",  # by the engine, of the sampled tokens; null if there are none
}


class SampleWriter:
    """Writes the Parquet files of one run; each is whole or absent."""

    def __init__(self, run_dir: Path, resume_step: int) -> None:
        """Files of steps after `resume_step` are deleted: the run will do these steps again."""
        self._train = run_dir / "samples"
        self._eval = run_dir / "eval"
        for folder in (self._train, self._eval):
            for step, path in sample_files(folder):
                if step > resume_step:
                    path.unlink()

    def write(
        self,
        step: int,
        scored: Sequence[ScoredGroup],
        advantages: Mapping[tuple[int, int], float],
        discarded: Sequence[ScoredGroup] = (),
    ) -> Path:
        """Write a phase that ended with update `step`; `advantages` by (place of group, index), absent if untrained.

        The rows of `discarded`, which dynamic sampling left out, follow those of `scored`.
        """
        rows = sample_rows(step, "rl", scored, advantages)
        rows += [row | {"discarded": True} for row in sample_rows(step, "rl", discarded, {})]
        return write_samples(self._train / file_name(step), rows)

    def write_eval(self, step: int, scored: Sequence[ScoredGroup]) -> Path:
        """Write the samples of an evaluation."""
        return write_samples(self._eval / file_name(step), sample_rows(step, "eval", scored, {}))


def file_name(step: int) -> str:
    """step-000012.parquet."""
    return f"step-{step:06d}.parquet"


def sample_files(folder: Path) -> list[tuple[int, Path]]:
    """(step, file) of each sample file in a folder, by step."""
    found = (
        (re.fullmatch(r"step-(\d+)\.parquet", path.name), path) for path in folder.glob("step-*.parquet")
    )
    return sorted((int(match[1]), path) for match, path in found if match)


def sample_rows(
    step: int, stage: str, scored: Sequence[ScoredGroup], advantages: Mapping[tuple[int, int], float]
) -> list[dict[str, Any]]:
    """One dict per sample, components under their own names (`component_column`)."""
    rows = []
    for place, item in enumerate(scored):
        prompt = item.group.prompt
        for sample, score in zip(item.group.samples, item.scores, strict=True):
            row: dict[str, Any] = {
                "step": step,
                "stage": stage,
                "prompt_id": sample.prompt_id,
                "index": sample.index,
                "prompt": prompt.text,
                "completion": sample.text,
                "answer": answer_as_text(prompt.answer),
                "total": score.total,
                "verdict": score.verdict,
                "reason": score.reason,
                "advantage": advantages.get((place, sample.index)),
                "discarded": False,
                "finish_reason": sample.finish_reason,
                "tokens": len(sample.token_ids),
                "version_first": sample.version_first,
                "version_last": sample.version_last,
                "seed": sample.seed,
                "mean_logprob": float(sample.logprobs.mean(dtype="float64"))
                if len(sample.logprobs)
                else None,
            }
            row |= {component_column(name): value for name, value in score.components.items()}
            rows.append(row)
    return rows


def component_column(name: str) -> str:
    """Column of a reward component: its name, or "reward/<name>" if a plug-in took the name of another column."""
    return f"reward/{name}" if name in SCHEMA else name


def answer_as_text(answer: Any) -> str | None:
    """A string as it is, None as null, anything else as JSON."""
    if answer is None or isinstance(answer, str):
        return answer
    return json.dumps(answer, ensure_ascii=False, default=str)


def write_samples(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as Parquet, atomically."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            pq.write_table(_table(rows), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _table(rows: Sequence[Mapping[str, Any]]) -> pyarrow.Table:
    import pyarrow as pa

    components = sorted({name for row in rows for name in row} - set(SCHEMA))
    fields = [pa.field(name, pa.type_for_alias(kind)) for name, kind in SCHEMA.items()]
    schema = pa.schema([*fields, *(pa.field(name, pa.float64()) for name in components)])
    return pa.table({name: [row.get(name) for row in rows] for name in schema.names}, schema=schema)


def component_columns(names: Sequence[str]) -> list[str]:
    """The columns of a sample file that are reward components."""
    return [name for name in names if name not in SCHEMA]
