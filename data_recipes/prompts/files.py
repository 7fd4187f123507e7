"""Reads the rows of files: JSON lines, JSON arrays, indented objects, Parquet; and finds the files that a source names.

for path in find_files("data/part-*.jsonl"): …
for where, row in file_rows(path, on_bad): …       ("a.jsonl, line 7", {…}), ("a.parquet, row 3", ArrowRow({…}))
"""

from __future__ import annotations

import codecs
import glob
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from data_recipes.config import FILE_ENDINGS, is_pattern
from data_recipes.errors import DataError
from data_recipes.fields import ArrowRow, Row
from policies.files import NOT_FETCHED, is_lfs_pointer
from policies.near_paths import did_you_mean_path
from policies.record_batches import rows_of

OnBad = Callable[[DataError], None] | None
"""Called with the error of a row that cannot be read, to continue; None raises it."""
JSON_ENDINGS = (".json", ".json.gz")
WRAPPERS = (
    "data",
    "rows",
    "train",
    "examples",
    "instances",
    "items",
    "questions",
    "problems",
    "samples",
    "records",
)
"""Fields under which an only object in a file may hold its rows."""
_SPACE = " \t\r\n"


def find_files(source: str) -> list[Path]:
    """Return the files of a pattern, a folder or a path, by name; hidden ones are being written.

    Raises:
        DataError: there is none; names the nearest ones.
    """
    path = Path(source).expanduser()
    if is_pattern(source) and not path.exists():
        found = sorted(Path(p) for p in glob.glob(str(Path(source).expanduser()), recursive=True))
        files = [p for p in found if p.is_file() and p.name.endswith(FILE_ENDINGS)]
        if not files:
            other = f" ({len(found)} files have another ending)" if found else ""
            raise DataError(
                f"{source}: no file matches{other}; expected one of the endings {', '.join(FILE_ENDINGS)}"
            )
        return files
    if source.endswith("/") or path.is_dir():
        entries = path.iterdir() if path.is_dir() else ()
        files = sorted(p for p in entries if p.name.endswith(FILE_ENDINGS) and not p.name.startswith("."))
        if not files:
            raise DataError(
                f"{path}/: no folder with files of these endings: {', '.join(FILE_ENDINGS)}"
                f"{did_you_mean_path(path)}; give a path from the recipe's folder or from the directory that "
                "the command runs in"
            )
        return files
    if not path.is_file():
        raise DataError(
            f"{path}: no such file{did_you_mean_path(path)}; give a path from the recipe's folder or from the "
            "directory that the command runs in"
        )
    if not path.name.endswith(FILE_ENDINGS):
        raise DataError(
            f"{path}: its ending determines how a file is read; supported are {', '.join(FILE_ENDINGS)}: rename or "
            "convert the file"
        )
    return [path]


def file_rows(path: Path, on_bad: OnBad) -> Iterator[tuple[str, Row]]:
    """Yield (location, row) of a file, lazily.

    Raises:
        DataError: the file cannot be read, or a row and there is no `on_bad`.
    """
    if is_lfs_pointer(path):
        raise DataError(f"{path}: {NOT_FETCHED}")
    if path.suffix == ".parquet":
        return _parquet(path, on_bad)
    return _json_values(path, on_bad) if _spans_lines(path) else _json_lines(path, on_bad)


def _spans_lines(path: Path) -> bool:
    """Return True if a text file holds one array, or objects over several lines, instead of an object in each line.

    Its first two lines decide, so that a broken line of JSON lines stays the error of that line.
    """
    lines: list[bytes] = []
    try:
        with _open(path) as file:
            for line in file:
                text = line.removeprefix(codecs.BOM_UTF8).strip()
                if text:
                    lines.append(text)
                if len(lines) == 2:
                    break
    except (gzip.BadGzipFile, zlib.error, EOFError):
        return False  # the reader reports it
    first, second = [*lines, b"", b""][:2]
    if first.startswith(b"["):
        return path.name.endswith(JSON_ENDINGS) or not second or not _is_json(first)
    if not first.startswith(b"{"):
        return False
    if _is_json(first):
        return not second and wrapper_of(json.loads(first)) is not None
    return bool(second) and not second.startswith(b"{")


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def wrapper_of(only: object) -> str | None:
    """Return the field of a file's only object that holds the rows; None if it is a row itself."""
    fields = only if isinstance(only, dict) else {}
    return next((name for name in WRAPPERS if isinstance(fields.get(name), list)), None)


def _json_values(path: Path, on_bad: OnBad) -> Iterator[tuple[str, Row]]:
    """Yield the objects of an array, or those that follow each other, one by one: so an error names the line."""
    text = _whole_text(path)
    decoder, has_escapes = json.JSONDecoder(), "\\u" in text
    at = _skip(text, 0)
    is_array = text.startswith("[", at)
    at = _skip(text, at + 1) if is_array else at
    number, line, counted = 0, 1, 0
    while at < len(text) and not (is_array and text[at] == "]"):
        number += 1
        line, counted = line + text.count("\n", counted, at), at
        where = f"{path}, row {number} (line {line})"
        try:
            row, end = decoder.raw_decode(text, at)
            if has_escapes:
                json.dumps(row, ensure_ascii=False).encode()  # raises on half of a surrogate pair
        except json.JSONDecodeError as error:
            raise DataError(
                f"{where}: not JSON at line {error.lineno}, column {error.colno} ({error.msg}); fix the file"
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not JSON that can be read ({error}); fix or delete it") from error
        at = _skip(text, end)
        if number == 1 and at >= len(text) and (name := wrapper_of(row)) is not None:
            raise DataError(
                f"{path}: one object, whose field {name} holds {len(row[name]):,} items; expected an array of rows, or "
                f"a row in each line: jq -c '.{name}[]' {path.name} > rows.jsonl"
            )
        if isinstance(row, dict):
            yield where, row
        else:
            problem = DataError(f"{where}: expected an object with fields, found {_short(json.dumps(row))}")
            if on_bad is None:
                raise problem
            on_bad(problem)
        if is_array and text.startswith(",", at):
            at = _skip(text, at + 1)
        elif is_array and at < len(text) and text[at] != "]":
            raise DataError(f"{where}: followed by {text[at : at + 20]!r}; expected , or ]; fix the file")
    if is_array and at >= len(text):
        raise DataError(f"{path}, after row {number}: the array has no end; the file is cut short")
    if is_array and (rest := _skip(text, at + 1)) < len(text):
        raise DataError(
            f"{path}, after row {number}: behind the end of the array stands {text[rest : rest + 20]!r}; make it one "
            "array, or give a row in each line"
        )


def _whole_text(path: Path) -> str:
    try:
        with _open(path) as file:
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start + 1}; save the file as UTF-8") from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: the gzip stream is broken ({error}); fetch it again") from error


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _json_lines(path: Path, on_bad: OnBad) -> Iterator[tuple[str, Row]]:
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


def _parquet(path: Path, on_bad: OnBad) -> Iterator[tuple[str, Row]]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            for row in rows_of(batch):
                number += 1
                where = f"{path}, row {number}"
                if isinstance(row, Exception):
                    problem = DataError(f"{where}: not readable ({row}); fix or delete it")
                    if on_bad is None:
                        raise problem from row
                    on_bad(problem)
                else:
                    yield where, ArrowRow(row)
    except (pyarrow.ArrowException, OSError) as error:
        location = f"{path}, after row {number}" if number else path
        raise DataError(f"{location}: not a readable Parquet file ({error}); fetch it again") from error


def _short(text: str, limit: int = 120) -> str:
    """Return the first line of a text, shortened for a message."""
    line = text.splitlines()[0] if text else ""
    return line if len(line) <= limit else f"{line[:limit]}…"
