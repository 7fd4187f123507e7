"""The file or folder that was probably meant by a path that is not there. Standard library alone.

nearest_path(Path("parst/p0.jsonl"))           Path("parts/p0.jsonl")
"""

from __future__ import annotations

import difflib
from pathlib import Path


def nearest_path(path: Path, *, folders: bool = False, cutoff: float = 0.6) -> Path | None:
    """Return the path of the nearest names, each part below the one found before it; None if nothing is near.

    Where a part has no near name the path ends above it, so what comes back exists.

    Args:
        path: what is not there.
        folders: True for a path of folders alone.
        cutoff: how alike two names are at least, 0 to 1 (`difflib.SequenceMatcher.ratio`).
    """
    known = path.parent
    while not known.is_dir() and known != known.parent:
        known = known.parent
    found = known
    for part in path.relative_to(known).parts:
        try:
            names = [
                p.name for p in found.iterdir() if not p.name.startswith(".") and (not folders or p.is_dir())
            ]
        except OSError:
            break
        near = [part] if part in names else difflib.get_close_matches(part, names, n=1, cutoff=cutoff)
        if not near:
            break
        found /= near[0]
    return None if found in (known, path) else found


def did_you_mean_path(path: Path, *, folders: bool = False, cutoff: float = 0.6) -> str:
    """Return " (did you mean …?)" with the nearest path, or ""; arguments as `nearest_path`."""
    near = nearest_path(path, folders=folders, cutoff=cutoff)
    return f" (did you mean {near}?)" if near else ""
