"""Files of samples: one writer, one reader. The columns are those of `SampleRow`.

samples/step-000012.parquet      the phase whose last update was the 12th
eval/step-000000.parquet         held-out samples of the policy before any update
samples.parquet                  of `grpo sample` (grpo/tracking/sample_parts.py)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grpo.common.errors import BrokenRun
from grpo.tracking.sample_row import COLUMNS, REQUIRED, SampleRow, component_column, component_of, group_rows
from policies.files import replacing
from policies.json_types import JsonDict, JsonMapping
from rewards.types import ScoredGroup

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

TOKEN_COLUMNS = frozenset(name for name, kind in COLUMNS.items() if kind == "list<int32>")


def phase_rows(
    step: int,
    stage: str,
    scored: Sequence[ScoredGroup],
    advantages: Mapping[tuple[int, int], float],
    model: str | None = None,
    discarded: Sequence[ScoredGroup] = (),
) -> list[SampleRow]:
    """Make the rows of a phase or an evaluation.

    Args:
        step, stage, model: as the columns say.
        scored: its groups; the same prompt may come twice.
        advantages: by (index of the group in `scored`, index of the sample).
        discarded: groups of an RL phase that dynamic sampling left out; their rows come last.
    """
    by_group: dict[int, dict[int, float]] = {}
    for (number, index), value in advantages.items():
        by_group.setdefault(number, {})[index] = value
    return [
        row
        for number, group in enumerate((*scored, *discarded))
        for row in group_rows(
            group,
            stage=stage,
            step=step,
            group_id=f"{stage}-{step}/{number}",
            model=model,
            advantages=by_group.get(number, {}),
            discarded=number >= len(scored) if stage == "rl" else None,
        )
    ]


def write_samples(path: Path, rows: Sequence[SampleRow]) -> Path:
    """Write rows as Parquet, atomically; components and kept columns are those that any of the rows has."""
    import pyarrow.parquet as pq

    components = sorted({name for row in rows for name in row.components})
    kept = sorted({name for row in rows for name in row.kept})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        pq.write_table(to_table(rows, file_schema(components, kept)), temporary, compression="zstd")
    return path


def read_samples(path: Path) -> Iterator[SampleRow]:
    """Read a sample file, row by row.

    Raises:
        BrokenRun: the file is not readable, or has not the columns of `SampleRow`.
    """
    for schema, row in _read(path, None):
        yield _sample_row(schema, row)


def read_head(path: Path, limit: int) -> tuple[int, list[SampleRow]]:
    """Read the first `limit` samples of a file, without their token ids; returns (rows of the file, samples).

    Raises:
        BrokenRun: see `read_samples`.
    """
    with _opened(path) as file:
        names = [name for name in file.schema_arrow.names if name not in TOKEN_COLUMNS]
        batch = next(file.iter_batches(batch_size=limit, columns=names), None)
        absent: JsonDict = dict.fromkeys(TOKEN_COLUMNS)
        rows = [] if batch is None else [_sample_row(batch.schema, absent | row) for row in batch.to_pylist()]
        return file.metadata.num_rows, rows


def read_columns(path: Path, columns: Sequence[str]) -> Iterator[JsonDict]:
    """Read some columns of a sample file, row by row.

    Raises:
        BrokenRun: see `read_samples`.
    """
    for _, row in _read(path, columns):
        yield row


def _read(path: Path, columns: Sequence[str] | None) -> Iterator[tuple[pyarrow.Schema, JsonDict]]:
    with _opened(path) as file:
        for batch in file.iter_batches(columns=None if columns is None else list(columns)):
            for row in batch.to_pylist():
                yield batch.schema, row


@contextmanager
def _opened(path: Path) -> Iterator[pyarrow.parquet.ParquetFile]:
    """Yield an open sample file; what goes wrong while it is read names it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in REQUIRED if name not in file.schema_arrow.names]
            if missing:
                raise BrokenRun(
                    f"{path}: no column {missing[0]!r}; not a sample file, or one that a version before 0.2 wrote"
                )
            yield file
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BrokenRun(f"{path}: {error}") from error


def _sample_row(schema: pyarrow.Schema, row: JsonMapping) -> SampleRow:
    import pyarrow as pa

    beside = [name for name in schema.names if name not in COLUMNS]
    components = [name for name in beside if pa.types.is_floating(schema.field(name).type)]
    own: JsonDict = {name: row.get(name) for name in COLUMNS}
    for name in TOKEN_COLUMNS:
        own[name] = None if own[name] is None else np.asarray(own[name], dtype=np.int32)
    return SampleRow(
        **own,
        components={component_of(name): row[name] for name in components},
        kept={name: row[name] for name in beside if name not in components},
    )


def file_schema(components: Sequence[str], kept: Sequence[str]) -> pyarrow.Schema:
    """Return the Parquet schema of a file with these reward components and kept prompt columns.

    Raises:
        ValueError: two columns would have one name.
    """
    import pyarrow as pa

    types = {"list<int32>": pa.list_(pa.int32())}
    columns = [(n, types.get(kind) or pa.type_for_alias(kind)) for n, kind in COLUMNS.items()]
    columns += [(component_column(name), pa.float64()) for name in components]
    columns += [(name, pa.string()) for name in kept]
    names = [name for name, _ in columns]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two columns of the samples would be called {twice!r}")
    return pa.schema([pa.field(*column) for column in columns])


def to_table(rows: Sequence[SampleRow], schema: pyarrow.Schema) -> pyarrow.Table:
    """Put rows into a table; a component that a row lacks is null."""
    import pyarrow as pa

    dicts = [row.as_dict() for row in rows]
    return pa.table({name: [row.get(name) for row in dicts] for name in schema.names}, schema=schema)


def file_name(step: int) -> str:
    """Return the name of a step's file: step-000012.parquet."""
    return f"step-{step:06d}.parquet"


def sample_files(folder: Path) -> list[tuple[int, Path]]:
    """Find (step, file) of each sample file in a folder, by step."""
    found = (
        (re.fullmatch(r"step-(\d+)\.parquet", path.name), path) for path in folder.glob("step-*.parquet")
    )
    return sorted((int(match[1]), path) for match, path in found if match)


class SampleWriter:
    """Writes the sample files of one run of `grpo rl` or `grpo eval`; each is whole or absent."""

    def __init__(self, run_dir: Path, resume_step: int, model: str | None = None) -> None:
        """Delete the files of steps after `resume_step`: the run will do these steps again.

        Args:
            run_dir: the run's.
            resume_step: updates done; -1 for a new run.
            model: hash of the policy that the run began with.
        """
        self._train = run_dir / "samples"
        self._eval = run_dir / "eval"
        self._model = model
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
        """Write a phase that ended with update `step`; see `phase_rows`."""
        rows = phase_rows(step, "rl", scored, advantages, self._model, discarded)
        return write_samples(self._train / file_name(step), rows)

    def write_eval(self, step: int, scored: Sequence[ScoredGroup]) -> Path:
        """Write the samples of an evaluation."""
        return write_samples(self._eval / file_name(step), phase_rows(step, "eval", scored, {}, self._model))
