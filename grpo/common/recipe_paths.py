"""Paths in a recipe: from the recipe's own folder, or from the directory that the command runs in.

    inputs_beside(tree, ("data.source", "rewards.*.name"), Path("recipes/mine.toml"))

"rows.jsonl" becomes "recipes/rows.jsonl" if that exists. Where both exist, the file beside the recipe is read, with a
warning. Paths of a run's config.json are from the directory in which the run was started, which its manifest names.
Values of `--set` are from the directory of the command. Outputs are too, and names that look like no path stay
("chain", "accuracy", a name on the hub that is no folder here).
"""

from __future__ import annotations

import difflib
import fnmatch
import glob
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any  # Any: nodes of a TOML tree

from policies.json_types import JsonDict
from policies.near_paths import nearest_path

logger = logging.getLogger(__name__)
FILES = frozenset({".jsonl", ".json", ".parquet", ".gz", ".py", ".jinja", ".toml"})
"""Endings of files; no repository on the hub is called so."""


def recipe_file(recipe: str) -> Path | None:
    """Return the file of a recipe; None for a shipped name."""
    path = Path(recipe).expanduser()
    try:
        return path if path.is_file() else None
    except OSError:  # longer than any name
        return None


def inputs_beside(tree: JsonDict, patterns: Sequence[str], recipe: Path | None) -> None:
    """Change the paths of a recipe's tree that exist beside the recipe, in place.

    Args:
        tree: the recipe as TOML has it.
        patterns: key paths whose value may name a file or folder, `*` for any one part.
        recipe: the file that the tree was written in; None changes nothing.
    """
    if recipe is None:
        return
    if (
        recipe.suffix == ".json"
    ):  # a run's config.json is a recipe too: its paths are from where the run was started
        began_in = start_folder(recipe.parent)
        if began_in is not None:
            _walk(tree, "", patterns, lambda value, _: from_start(value, began_in))
        return
    _walk(tree, "", patterns, lambda value, key: beside(value, recipe, key))


def start_folder(run_dir: Path) -> Path | None:
    """Return the directory in which the run of this folder was started; None if it does not say, or is gone."""
    try:
        folder = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))["directory"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Path(folder) if isinstance(folder, str) and os.path.isdir(folder) else None


def from_start(value: str, folder: Path) -> str:
    """Return a relative path of a run's config as an absolute one, if its file is where the run was started."""
    file, colon, function = _file_and_function(value)
    try:
        if _names_no_file(file) or Path.cwd() == folder or not _exists(str(folder / file)):
            return value
    except OSError:  # a text too long for a name, e.g. a judge's instructions
        return value
    return f"{folder / file}{'/' if file.endswith('/') else ''}{colon}{function}"


def is_input(key: str, patterns: Sequence[str]) -> bool:
    """Return True if the value of a key path may name a file or folder; an item of a list counts as the list."""
    parent, _, last = key.rpartition(".")
    keys = (key, parent) if last.isdecimal() else (key,)
    return any(fnmatch.fnmatchcase(name, pattern) for name in keys for pattern in patterns)


def _walk(node: Any, key: str, patterns: Sequence[str], found: Callable[[str, str], str]) -> None:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in list(items):
        path = f"{key}.{name}" if key else str(name)
        if isinstance(value, str):
            if is_input(path, patterns):
                node[name] = found(value, path)
        else:
            _walk(value, path, patterns, found)


def beside(value: str, recipe: Path, key: str) -> str:
    """Return a value with its path from the recipe's folder, if that is where its file, or one of a like name, is.

    A file that is nowhere gets the path from the recipe's folder if a file of a like name is there, so that the error
    names that one.
    """
    file, colon, function = _file_and_function(value)
    if _names_no_file(file):
        return value
    there = recipe.parent / file
    try:
        if (Path.cwd() / file).resolve() == there.resolve():
            return value
        if not _exists(str(there)) and (_exists(file) or _may_be_on_the_hub(file) or not _is_near(there)):
            return value
        if _exists(file):
            logger.warning(
                "%s: %s = %r is there twice: %s, beside the recipe, is read, and %s, in the directory that the command "
                "runs in, is not; write the whole path of the one you mean",
                recipe, key, value, there, Path.cwd() / file,
            )  # fmt: skip
    except OSError:  # a text too long for a name, e.g. a judge's instructions
        return value
    return f"{there}{'/' if file.endswith('/') else ''}{colon}{function}"


def _file_and_function(value: str) -> tuple[str, str, str]:
    """Return ("a.py", ":", "exact") of "a.py:exact", and (value, "", "") of all else."""
    file, colon, function = value.rpartition(":")
    return (file, colon, function) if colon and file.endswith(".py") else (value, "", "")


def _names_no_file(file: str) -> bool:
    """Return True for what is no relative path: a name, or a path that says by itself where it begins."""
    return not file or file.startswith(("/", "~", "$", "{")) or not ("/" in file or Path(file).suffix)


def _may_be_on_the_hub(file: str) -> bool:
    return file.count("/") == 1 and Path(file).suffix not in FILES


def _is_near(path: Path) -> bool:
    """Return True if a file or folder has a name like each part of a path."""
    near = nearest_path(path, cutoff=0.8)
    return near is not None and len(near.parts) == len(path.parts)


def _exists(path: str) -> bool:
    """Return True for a file, a folder, or a pattern that a file matches."""
    return Path(path).exists() or (
        any(mark in path for mark in "*?[") and bool(glob.glob(path, recursive=True))
    )


def nearest_recipe(recipe: str, shipped: Sequence[str]) -> str:
    """Return " (did you mean …?)" with the shipped recipe or the TOML file of the nearest name, or ""."""
    folder = Path(recipe).expanduser().parent
    try:
        files = [str(folder / f.name) if "/" in recipe else f.name for f in folder.glob("*.toml")]
    except OSError:
        files = []
    near = difflib.get_close_matches(recipe, [*shipped, *files], n=1, cutoff=0.6)
    if not near:
        near = difflib.get_close_matches(f"{recipe}.toml", files, n=1, cutoff=0.8)
    return f" (did you mean {near[0]}?)" if near else ""
