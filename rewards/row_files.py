"""Rows of a file: JSON Lines, also gzipped, or Parquet. The file's first bytes say which, not its name.

for row in read_file(path): …        FileRow(number=1, record={"completion": …})
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from policies.json_types import JsonDict
from policies.record_batches import rows_of

_PARQUET, _GZIP = b"PAR1", b"\x1f\x8b"
_BATCH_ROWS = 256


@dataclass(frozen=True)
class FileRow:
    """One row, or why it cannot be read."""

    number: int
    """Line of a text file or row of a Parquet file, counted from 1."""
    record: JsonDict | None
    problem: str = ""
    """Why `record` is None."""
    size: int = 0
    """Bytes that the row takes, about."""


def read_file(path: Path) -> Iterator[FileRow]:
    """Yield the rows of a file in order; blank lines are left out.

    Raises:
        OSError: the file cannot be read, or its gzip stream is broken.
        ValueError: a Parquet file is damaged.
    """
    with path.open("rb") as file:
        first = file.read(4)
        file.seek(0)
        if first == _PARQUET:
            yield from _parquet(path)
        elif first.startswith(_GZIP):
            with gzip.open(file) as unpacked:
                yield from _lines(unpacked)  # type: ignore[arg-type]  # a GzipFile is read as a BinaryIO
        else:
            yield from _lines(file)


def _lines(file: BinaryIO) -> Iterator[FileRow]:
    is_first = True
    for number, line in enumerate(file, 1):
        if line.strip():
            yield _parse(number, line, "utf-8-sig" if is_first else "utf-8")
            is_first = False


def _parse(number: int, line: bytes, encoding: str) -> FileRow:
    try:
        record = json.loads(line.decode(encoding))
    except (ValueError, RecursionError) as error:
        return FileRow(number, None, f"line is no JSON: {error}", len(line))
    if not isinstance(record, dict):
        return FileRow(number, None, f"line holds {type(record).__name__}, expected an object", len(line))
    return FileRow(number, record, "", len(line))


def _parquet(path: Path) -> Iterator[FileRow]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(_BATCH_ROWS):
            size = batch.nbytes // max(batch.num_rows, 1)
            for record in rows_of(batch):
                number += 1
                if isinstance(record, Exception):
                    yield FileRow(number, None, f"row is not readable: {record}", size)
                else:
                    yield FileRow(number, record, "", size)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}, after row {number}: not a readable Parquet file ({error})") from error
