"""JSON-lines files whose rows have a `step`: metrics.jsonl, eval.jsonl and ledger.jsonl.

A row is on disk when the call that writes it returns. A last line that a crash cut is no row; the next writer removes
it, so that no later row is glued to it. JSON has no NaN: a value that is not finite is written as null.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path

from grpo.common.errors import BrokenRun
from policies.files import write_atomic
from policies.json_types import JsonDict, JsonMapping


def read_rows(path: Path) -> list[JsonDict]:
    """Read every row; [] if there is no file. A last line that a crash cut is left out.

    Raises:
        BrokenRun: another line is no JSON object with a `step`; names file and line.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, 1):
        if not line and number == len(lines):
            break
        try:
            row = json.loads(line)
            row["step"]
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break  # No newline after it: the write that a crash cut.
            raise BrokenRun(
                f"{path}, line {number}: not a JSON object with a step ({error}); delete that line to go on"
            ) from error
        rows.append(row)
    return rows


def append_rows(path: Path, rows: Iterable[JsonMapping]) -> None:
    """Append rows with one write and one fsync; no rows write nothing."""
    text = "".join(to_line(row) for row in rows)
    if not text:
        return
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def rewrite_rows(path: Path, rows: Iterable[JsonMapping]) -> None:
    """Replace the whole file, atomically."""
    write_atomic(path, "".join(to_line(row) for row in rows))


def truncate_to(path: Path, step: int) -> None:
    """Drop the rows of later steps and a line that a crash cut, atomically; a missing file stays missing.

    Raises:
        BrokenRun: see `read_rows`.
    """
    if path.exists():
        rewrite_rows(path, (row for row in read_rows(path) if row["step"] <= step))


def to_line(row: JsonMapping) -> str:
    """One row as a line of JSON; NaN and infinities become null."""
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(finite, ensure_ascii=False, allow_nan=False) + "\n"
