"""Samples of `grpo sample` while they are made: a Parquet part for each chunk, and one file at the end.

    run_dir/parts/000012.parquet     chunk 12, whole or absent
    run_dir/samples.parquet          all of them in order; the same bytes whenever and however often it was interrupted

A part holds one chunk's samples in prompt order and no times, so it depends on the chunk alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from grpo.common.errors import BrokenRun
from grpo.tracking.sample_row import SampleRow
from grpo.tracking.samples import file_schema, to_table
from policies.files import replacing


class SampleParts:
    """The parts of one run."""

    def __init__(self, run_dir: Path, components: Sequence[str], keep: Sequence[str]) -> None:
        """Remove the files that were being written when an earlier process ended.

        Args:
            run_dir: the run's.
            components: names of the rewards, in the order of their columns.
            keep: prompt columns to keep.

        Raises:
            ValueError: a component or a kept column has the name of another column.
        """
        self._schema = file_schema(components, keep)
        self.path = run_dir / "samples.parquet"
        self._folder = run_dir / "parts"
        self._folder.mkdir(parents=True, exist_ok=True)
        for folder in (self._folder, run_dir):
            for unfinished in folder.glob(".*.parquet.*.tmp"):
                unfinished.unlink()

    def is_written(self, number: int) -> bool:
        """True if the part of this chunk is there."""
        return self._part(number).exists()

    def write(self, number: int, rows: Sequence[SampleRow]) -> None:
        """Write the part of a chunk, all or nothing."""
        import pyarrow.parquet as pq

        with replacing(self._part(number)) as temporary:
            pq.write_table(to_table(rows, self._schema), temporary, compression="zstd")

    def merge(self, count: int) -> None:
        """Put parts 0 … count-1 into one file, all or nothing; a part is a row group of it.

        Raises:
            BrokenRun: a part is not readable, or has other columns.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        with (
            replacing(self.path) as temporary,
            pq.ParquetWriter(temporary, self._schema, compression="zstd") as out,
        ):
            for number in range(count):
                try:
                    out.write_table(pq.read_table(self._part(number)))
                except (pa.ArrowException, OSError, ValueError) as error:
                    raise BrokenRun(f"{self._part(number)}: {error}; delete it and run again") from error

    def remove(self) -> None:
        """Delete the parts."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _part(self, number: int) -> Path:
        return self._folder / f"{number:06d}.parquet"
