"""What makes two runs of a stage the same: hashes of its config and of what it reads, never of time or folder.

    key of a node = hash(command, resolved config, artefacts and files that it names, by content)

A path in a config counts by the content found there; the folder that a stage writes to does not count. An artefact's
hash covers the content of its files; values of a JSON summary that depend on the clock or the machine do not count.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel

from data_recipes.config import FILE_ENDINGS, is_pattern, source_kind
from data_recipes.errors import DataError
from data_recipes.prompts.files import find_files
from grpo.common import recipe_paths
from grpo.config.kinds import is_marked, kind_of
from grpo.graph.parse import Node
from grpo.graph.references import leaves
from grpo.tracking.changes import module_file
from grpo.tracking.run_dir import CARD
from policies.digests import digest_file, digest_json
from policies.near_paths import did_you_mean_path
from policies.settings import KeyKind, KeyMark

FORMAT = 3
"""Raised when the same config begins to mean something else to a stage."""
VOLATILE = frozenset({"minutes", "seconds", "tokens_per_s", "worker_restarts", "base_model_name_or_path"})
"""Keys of summaries that differ between two equal runs, and the folder of an adapter's base."""


def node_key(
    node: Node,
    artefacts: Mapping[tuple[str, str], str],
    hash_input: Callable[[Path], str] | None = None,
) -> str:
    """Return the key, 16 hex digits.

    Args:
        node: the stage.
        artefacts: (stage, output) → hash, for every artefact that the node needs.
        hash_input: hashes a file or folder that no stage made; default `hash_path`.
    """
    tree = node.config.model_dump(mode="json")
    tree.pop(node.stage.output_key)
    needed = {reference.key: reference for reference in node.needs}
    counted: dict[str, object] = {}
    for value, key in leaves(tree):
        if not decides_outcome(type(node.config), key):
            continue
        if key in needed:
            reference = needed[key]
            # The path inside the stage's folder, e.g. policy or policy/tokenizer.json; the folder itself may move.
            inside = str(Path(str(value)).relative_to(node.folder.parent / reference.stage))
            counted[key] = ["artefact", artefacts[reference.stage, reference.output], inside]
        elif isinstance(value, str) and is_input(node, key) and names_files(value, key):
            files = find_files(value)
            counted[key] = [value, {path.name: (hash_input or hash_path)(path) for path in files}]
        elif isinstance(value, str) and is_input(node, key) and (path := _named(value, key)) is not None:
            counted[key] = [value, (hash_input or hash_path)(path)]
        else:
            counted[key] = value
    return digest_json({"format": FORMAT, "command": node.command, "config": counted})


def decides_outcome(config: type[BaseModel], key: str) -> bool:
    """Return True for a key whose change makes another outcome: what is learnt, or how long."""
    return kind_of(config, key) is KeyKind.IDENTITY or is_marked(config, key, KeyMark.LENGTH)


def is_input(node: Node, key: str) -> bool:
    """Return True if the value of this key may name a file or folder."""
    return recipe_paths.is_input(key, node.stage.inputs)


def names_files(value: str, key: str) -> bool:
    """Return True for a pattern of files, e.g. "data/*.jsonl"."""
    if ".params." in key or not is_pattern(value) or source_kind(value) != "file":
        return False
    try:
        return not Path(value).expanduser().exists()
    except OSError:  # a text that is too long to be a name
        return False


def _named(value: str, key: str) -> Path | None:
    """Return `input_path`, or the file of a `package.module:function`.

    A reward's parameter "." or "/" is a character, not that folder with all its content.
    """
    if ".params." in key:
        return input_path(value) if Path(value).name else None
    return input_path(value) or module_file(value)


def input_path(value: str) -> Path | None:
    """Return the file or folder that a value names, for `path.py:function` the file; None if there is none."""
    file, colon, _ = value.rpartition(":")
    for text in (Path(value) if value else None, Path(file) if colon and file else None):
        try:
            if text is not None and text.exists():
                return text
        except OSError:  # a text too long for a name, e.g. a judge's instructions
            continue
    return None


def missing_inputs(node: Node) -> list[str]:
    """Return an error for each missing file that the stage reads, except files that other stages make.

    Without them the key cannot be computed, and the graph would take what the stage made before for out of date.
    """
    made = {reference.key for reference in node.needs}
    errors = []
    for value, key in leaves(node.config.model_dump(mode="json")):
        if key in made or not isinstance(value, str) or not is_input(node, key) or ".params." in key:
            continue
        if names_files(value, key):
            try:
                find_files(value)
            except DataError as error:
                errors.append(f"stage {node.name}: {key}: {error}")
            continue
        is_code = ".py:" in value
        file = Path(value.rpartition(":")[0]) if is_code else Path(value)
        is_missing_folder = value.endswith("/") and source_kind(value) == "file" and not file.is_dir()
        if is_missing_folder or ((is_code or value.endswith(FILE_ENDINGS)) and not file.is_file()):
            errors.append(
                f"stage {node.name}: {key} = {value!r}: no such file{did_you_mean_path(file)}; give a path from the "
                f"recipe's folder or from the directory that the command runs in ({Path.cwd()})"
            )
    return errors


def hash_path(path: Path) -> str:
    """Hash a file by its content, a folder by the names and contents of its files, but for a model card's."""
    if path.is_dir():
        return digest_json({name: hash_file(file) for name, file in content_files(path).items()})
    return hash_file(path)


def content_files(folder: Path) -> dict[str, Path]:
    """Return the files that make a folder's content by their names in it: all but model cards, which have a date."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != CARD)
    return {str(p.relative_to(folder)): p for p in files}


def hash_file(path: Path) -> str:
    """Hash a file's content to 16 hex digits; a JSON object without its volatile keys."""
    if path.suffix == ".json":
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            content = None
        if isinstance(content, dict):
            return digest_json({k: v for k, v in content.items() if k not in VOLATILE})
    return digest_file(path)
