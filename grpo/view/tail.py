"""Reading files of JSON lines that grow: only what is new is read; a file that was replaced is read again."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from policies.json_types import JsonDict

LAST_BYTES = 1 << 16
"""Read from the end of a file for its last rows."""


@dataclass
class JsonTail:
    """Follows one file of JSON lines."""

    path: Path
    problem: str = ""
    """The first line that is no JSON object, in words; the lines around it are read all the same."""
    _offset: int = 0
    _lines: int = 0
    _file: tuple[int, int] = (0, 0)
    _head: bytes = b""
    _pending: list[JsonDict] = field(default_factory=list)

    def read(self) -> tuple[bool, list[JsonDict]]:
        """Return (True if the rows begin again, the rows that are new since the last call).

        A last line without its newline is being written, or was cut by a crash: it is no row yet.
        """
        try:
            with self.path.open("rb") as file:
                stat = os.fstat(file.fileno())
                # A run that resumes replaces the file (another inode); a copy in place shortens or changes it.
                again = (stat.st_dev, stat.st_ino) != self._file or stat.st_size < self._offset
                again = again or file.read(len(self._head)) != self._head
                if again:
                    had = self._offset > 0
                    self._offset, self._lines, self.problem = 0, 0, ""
                    self._file = (stat.st_dev, stat.st_ino)
                else:
                    had = False
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            gone = self._offset > 0
            self._offset, self._lines, self.problem, self._file, self._head = 0, 0, "", (0, 0), b""
            return gone, []
        whole = data[: data.rfind(b"\n") + 1]
        if self._offset == 0:
            self._head = whole[:64]
        self._offset += len(whole)
        return had, self._parse(whole)

    def _parse(self, data: bytes) -> list[JsonDict]:
        rows = []
        for line in data.split(b"\n")[:-1]:
            self._lines += 1
            row = parse_line(line)
            if row is not None:
                rows.append(row)
            elif not self.problem:
                self.problem = f"{self.path.name}, line {self._lines}: not a JSON object with a step"
        return rows


def parse_line(line: bytes) -> JsonDict | None:
    """Return the row of a line; None if it is no JSON object with a whole number `step`."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
        return None
    return row


def last_rows(path: Path) -> list[JsonDict]:
    """Return the whole rows at the end of a file, those of its last 64 KiB; [] if there is no file."""
    rows = [parse_line(line) for line in last_lines(path, LAST_BYTES)]
    return [row for row in rows if row is not None]


def last_lines(path: Path, most: int) -> list[bytes]:
    """Return the whole lines of a file's last `most` bytes; [] if there is no file."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - most)
            file.seek(start)
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    return lines[1 if start else 0 : -1]
