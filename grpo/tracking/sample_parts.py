"""Samples on disk while they are being made: a Parquet part for each chunk, and one file at the end.

    run_dir/parts/000012.parquet     chunk 12, whole or absent
    run_dir/samples.parquet          all of them in order; the same bytes whenever and however often it was interrupted

A part holds one chunk's samples in prompt order and no times, so it depends on the chunk alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from grpo.common.errors import BrokenRun
from grpo.tracking.samples import answer_as_text
from rewards.types import Score
from rollout.types import SampleGroup

if TYPE_CHECKING:
    import pyarrow

COLUMNS: dict[str, str] = {
    "id": "string",  # prompt_id/index
    "prompt_id": "string",
    "prompt_text": "string",  # as the policy read it
    "question": "string",  # as the data set has it
    "prompt_ids": "list<int32>",
    "completion_text": "string",  # the template's prefill and what was generated
    "completion_ids": "list<int32>",  # generated, the stop token included
    "answer": "string",  # reference answer; JSON where it is not a string, null where there is none
    "kind": "string",
    "language": "string",
    "source": "string",  # name of the data set
    "score": "float64",  # weighted sum of the components; null without a verdict
    "finish_reason": "string",
    "seed": "int64",
    "model": "string",  # hash of the policy's files
}
"""Before one float column for each reward component and the prompt columns that the recipe keeps."""


class SampleParts:
    """The parts of one run."""

    def __init__(self, run_dir: Path, components: Sequence[str], keep: Sequence[str]) -> None:
        """Look at what is there; files that were being written when the run ended are removed.

        Raises:
            ValueError: a component or a kept column has the name of another column.
        """
        names = [*COLUMNS, *components, *keep]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two columns of the samples would be called {twice[0]!r}")
        self.path = run_dir / "samples.parquet"
        self._folder = run_dir / "parts"
        self._components, self._keep = tuple(components), tuple(keep)
        self._folder.mkdir(parents=True, exist_ok=True)
        for folder in (self._folder, run_dir):
            for unfinished in folder.glob(".*.parquet.*.tmp"):
                unfinished.unlink()

    def is_written(self, number: int) -> bool:
        """True if the part of this chunk is there."""
        return self._part(number).exists()

    def write(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the part of a chunk, all or nothing."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = self._schema()
        table = pa.table({name: [row.get(name) for row in rows] for name in schema.names}, schema=schema)
        with _replacing(self._part(number)) as file:
            pq.write_table(table, file, compression="zstd")

    def merge(self, count: int) -> None:
        """Put parts 0 … count-1 into one file, all or nothing; a part is a row group of it.

        Raises:
            BrokenRun: a part is not readable.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        with _replacing(self.path) as file, pq.ParquetWriter(file, self._schema(), compression="zstd") as out:
            for number in range(count):
                try:
                    out.write_table(pq.read_table(self._part(number)))
                except (pa.ArrowException, OSError, ValueError) as error:
                    raise BrokenRun(f"{self._part(number)}: {error}; delete it and run again") from error

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """These columns of the merged file, row by row."""
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(self.path).iter_batches(columns=list(columns)):
            yield from batch.to_pylist()

    def remove(self) -> None:
        """Delete the parts."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _part(self, number: int) -> Path:
        return self._folder / f"{number:06d}.parquet"

    def _schema(self) -> pyarrow.Schema:
        import pyarrow as pa

        types = {"list<int32>": pa.list_(pa.int32())}
        fields = [pa.field(n, types.get(kind) or pa.type_for_alias(kind)) for n, kind in COLUMNS.items()]
        fields += [pa.field(name, pa.float64()) for name in self._components]
        fields += [pa.field(name, pa.string()) for name in self._keep]
        return pa.schema(fields)


def sample_rows(
    group: SampleGroup, scores: Iterable[Score], model: str, keep: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """One dict per sample of a group.

    Raises:
        ValueError: the prompt has no column of a name in `keep`.
    """
    prompt = group.prompt
    missing = [name for name in keep if name not in prompt.columns]
    if missing:
        raise ValueError(f"keep_columns: prompt {prompt.id} of {prompt.source} has no column {missing[0]!r}")
    kept = {name: answer_as_text(prompt.columns[name]) for name in keep}
    rows = []
    for sample, score in zip(group.samples, scores, strict=True):
        row: dict[str, Any] = {
            "id": f"{prompt.id}/{sample.index}",
            "prompt_id": prompt.id,
            "prompt_text": prompt.text,
            "question": prompt.columns.get("question"),
            "prompt_ids": list(prompt.token_ids),
            "completion_text": prompt.prefill + sample.text,
            "completion_ids": sample.token_ids.tolist(),
            "answer": answer_as_text(prompt.answer),
            "kind": answer_as_text(prompt.columns.get("kind")),
            "language": answer_as_text(prompt.columns.get("language")),
            "source": prompt.source,
            "score": score.total,
            "finish_reason": sample.finish_reason,
            "seed": sample.seed,
            "model": model,
        }
        rows.append(row | dict(score.components) | kept)
    return rows


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
