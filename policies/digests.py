"""One content digest: the first 16 hex digits of SHA-256, for names, manifests and the keys of graph nodes.

64 bits tell some 10⁸ contents apart and fit on a line. Two other digests have other jobs: xxh3-128 proves gigabytes at
memory speed (tensors in rollout/wire.py, files of a checkpoint in grpo/training/checkpoint.py), and seeds or
splits draw numbers from a hash where they are used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

DIGITS = 16


def digest_file(path: Path) -> str:
    """Digest of a file's bytes.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]


def digest_bytes(parts: Iterable[bytes]) -> str:
    """Digest of byte strings laid end to end; where they join does not count."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.hexdigest()[:DIGITS]


def digest_lines(lines: Iterable[str]) -> str:
    """Digest of strings in order, such as the ids of prompts."""
    return digest_bytes(["\n".join(lines).encode()])


def digest_json(value: object, default: Callable[[object], object] | None = None) -> str:
    """Digest of a JSON value, whatever the order of its keys; `default` as in `json.dumps`.

    Raises:
        TypeError: the value is not JSON and `default` is None.
    """
    return digest_bytes([json.dumps(value, sort_keys=True, ensure_ascii=False, default=default).encode()])
