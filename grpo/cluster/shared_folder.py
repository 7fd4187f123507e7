"""A run's folder must be the same on every node: each rank writes its part of a checkpoint there.

with marked(run_dir) as marker:             on the driver
    absent = why_absent(marker)             on a rank's node; None: it is the same folder
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOOK_FOR_S = 5.0
"""Longest time until a file that another node has written must be seen: network file systems cache folders."""


@dataclass(frozen=True)
class Marker:
    """A file that the driver wrote."""

    path: Path
    text: str


@contextmanager
def marked(folder: Path) -> Iterator[Marker]:
    """Keep a file of unique content in a folder for the duration of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    marker = Marker(folder / f".same-folder-{uuid.uuid4().hex}", uuid.uuid4().hex)
    marker.path.write_text(marker.text, encoding="utf-8")
    try:
        yield marker
    finally:
        marker.path.unlink(missing_ok=True)


def why_absent(marker: Marker, look_for_s: float = LOOK_FOR_S) -> str | None:
    """Return why this node cannot use the folder that holds the marker, with the host's name; None if it can."""
    folder, host = marker.path.parent, socket.gethostname()
    deadline = time.monotonic() + look_for_s
    while True:
        if folder.is_dir():
            os.listdir(folder)  # makes a network file system look again
            if marker.path.is_file() and marker.path.read_text(encoding="utf-8") == marker.text:
                return None if os.access(folder, os.W_OK) else f"host {host} may not write to it"
        if time.monotonic() > deadline:
            return f"host {host} has {'another folder there' if folder.is_dir() else 'no such folder'}"
        time.sleep(min(0.2, look_for_s))
