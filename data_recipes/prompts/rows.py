"""Reads the rows of a data set with their locations, so that errors can name them.

for where, row in read_rows(config): …       ("gsm8k_test.jsonl, line 7", {"question": …, "answer": …})
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO  # Any: pyarrow has no types

from data_recipes.config import FILE_ENDINGS, GYM_PREFIX, DatasetConfig, source_kind
from data_recipes.errors import DataError
from data_recipes.procedural import PROCEDURAL
from policies.json_types import JsonDict

Row = JsonDict


def read_rows(
    config: DatasetConfig, on_bad: Callable[[DataError], None] | None = None
) -> Iterator[tuple[str, Row]]:
    """Yield all rows of the source as (location, row), lazily, in their order.

    Args:
        config: the source.
        on_bad: called with the error of a line or Parquet row that cannot be read, to continue; None raises it.

    Raises:
        DataError: the source or a row cannot be read; the message names file, line and a fix.
    """
    kind = source_kind(config.source)
    if kind == "procedural":
        return _procedural(config)
    if kind == "gym":
        from data_recipes.prompts.reasoning_gym import gym_rows

        task = config.source.removeprefix(GYM_PREFIX)
        return gym_rows(task, config.split or "train", config.seed, config.params)
    if kind == "hub":
        if Path(config.source).is_file():
            raise DataError(
                f"{config.source}: its ending determines how a file is read; supported are {', '.join(FILE_ENDINGS)}: "
                "rename or convert the file"
            )
        return _hub(config)
    if config.source.endswith("/"):
        return chain.from_iterable(_file(path, on_bad) for path in _files_of(Path(config.source)))
    return _file(Path(config.source), on_bad)


def _files_of(folder: Path) -> list[Path]:
    """Find the files of a folder that can be read, by name; hidden ones are being written.

    Raises:
        DataError: there is none.
    """
    entries = folder.iterdir() if folder.is_dir() else ()
    found = sorted(p for p in entries if p.name.endswith(FILE_ENDINGS) and not p.name.startswith("."))
    if not found:
        raise DataError(
            f"{folder}/: no folder with files of these endings: {', '.join(FILE_ENDINGS)}; give a path from the "
            "directory that the command runs in"
        )
    return found


def _file(path: Path, on_bad: Callable[[DataError], None] | None) -> Iterator[tuple[str, Row]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a path from the directory that the command runs in")
    return _parquet(path, on_bad) if path.suffix == ".parquet" else _jsonl(path, on_bad)


def _procedural(config: DatasetConfig) -> Iterator[tuple[str, Row]]:
    try:
        yield from PROCEDURAL[config.source].rows(config.seed, config.split or "train", config.params)
    except ValueError as error:
        raise DataError(f"{config.source}: {error}") from error


def _jsonl(path: Path, on_bad: Callable[[DataError], None] | None) -> Iterator[tuple[str, Row]]:
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                if not line.strip():
                    continue
                try:
                    row = _parse(path, number, line)
                except DataError as error:
                    if on_bad is None:
                        raise
                    on_bad(error)
                    continue
                yield f"{path}, line {number}", row
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(
            f"{path}, after line {number}: the gzip stream is broken ({error}); fetch it again"
        ) from error


def _open(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _parse(path: Path, number: int, line: bytes) -> Row:
    where = f"{path}, line {number}"
    try:
        # Without the line end; otherwise the error of a truncated line would name column 1 of the next line.
        row = json.loads(line.decode("utf-8").rstrip("\r\n"))
        if b"\\u" in line:
            json.dumps(row, ensure_ascii=False).encode()  # raises on half of a surrogate pair
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: {error.object[error.start]!a} is half of a character (a surrogate without its other half); "
            "fix or delete it"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start + 1}; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        found = line.decode("utf-8").strip()
        raise DataError(
            f"{where}: not JSON at column {error.colno} ({error.msg}): {_short(found)}; fix or delete it"
        ) from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # e.g. numbers with thousands of digits, or thousands of brackets
        raise DataError(f"{where}: not JSON that can be read ({error}); fix or delete it") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object with fields, found {_short(json.dumps(row))}")
    return row


def _parquet(path: Path, on_bad: Callable[[DataError], None] | None) -> Iterator[tuple[str, Row]]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            for row in _values(batch):
                number += 1
                where = f"{path}, row {number}"
                if isinstance(row, Exception):
                    problem = DataError(f"{where}: not readable ({row}); fix or delete it")
                    if on_bad is None:
                        raise problem from row
                    on_bad(problem)
                else:
                    yield where, row
    except (pyarrow.ArrowException, OSError) as error:
        location = f"{path}, after row {number}" if number else path
        raise DataError(f"{location}: not a readable Parquet file ({error}); fetch it again") from error


def _values(batch: Any) -> Iterator[Row | Exception]:
    """Yield the rows of a record batch; for a row that Python cannot hold (text that is not UTF-8) its error."""
    try:
        yield from batch.to_pylist()
    except ValueError:
        for index in range(batch.num_rows):
            try:
                yield from batch.slice(index, 1).to_pylist()
            except ValueError as error:
                yield error


def _hub(config: DatasetConfig) -> Iterator[tuple[str, Row]]:
    import datasets

    split = config.split or "train"
    datasets.disable_progress_bars()
    try:
        table = datasets.load_dataset(config.source, config.subset, split=split)
    except Exception as error:  # the library passes on errors of a dozen other libraries
        raise DataError(
            f"{config.source}: the hub gave no split {split!r}"
            f"{f' of subset {config.subset!r}' if config.subset else ''} ({_short(str(error))}); "
            "check name, subset and split, or without network download it elsewhere and set "
            f"source to the file ({', '.join(FILE_ENDINGS)})"
        ) from error
    for number, row in enumerate(table, 1):
        yield f"{config.source} {split}, row {number}", dict(row)


def _short(text: str, limit: int = 120) -> str:
    """Return the first line of a text, shortened for a message."""
    line = text.splitlines()[0] if text else ""
    return line if len(line) <= limit else f"{line[:limit]}…"


def show(value: object, limit: int = 80) -> str:
    """Return a value's repr, shortened for a message."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
