"""What makes two runs of a stage the same: hashes of what it is told and of what it reads, never of time or place.

    key of a node = hash(command, resolved config, artefacts and files that it names, by content)

A path in a config counts by what lies there, the folder that a stage writes to not at all. An artefact's hash is of
its files' content; of a JSON summary what depends on the clock or the machine is left out.
"""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data_recipes.config import FILE_ENDINGS, source_kind
from grpo.graph.parse import Node
from grpo.graph.references import leaves
from grpo.tracking.run_dir import MACHINE_KEYS

FORMAT = 2
"""Raised when a stage begins to do something else with the same config."""
OWN_PACKAGES = ("grpo", "data_recipes", "rewards", "rollout", "policies")
VOLATILE = frozenset({"minutes", "seconds", "tokens_per_s", "worker_restarts", "base_model_name_or_path"})
"""Keys of summaries that differ between two equal runs; and where an adapter's base lay."""
LATER_KEYS: Mapping[str, Any] = {"bad_rows": "error", "token_budget": None, "sequence_balance": 0.0}
"""Keys that stages got after `FORMAT` began, with the value that leaves a stage what it was without."""
HAD_FROM_THE_START: Mapping[str, tuple[str, ...]] = {"bad_rows": ("sft", "distill")}


def node_key(
    node: Node,
    artefacts: Mapping[tuple[str, str], str],
    hash_input: Callable[[Path], str] | None = None,
) -> str:
    """The key, 16 hex digits.

    Args:
        node: the stage.
        artefacts: (stage, output) → hash, of every artefact that the node needs.
        hash_input: of a file or folder that no stage made; default `hash_path`.
    """
    tree = node.config.model_dump(mode="json")
    tree.pop(node.stage.place)
    needed = {reference.key: reference for reference in node.needs}
    told: dict[str, Any] = {}
    for value, key in leaves(tree):
        if key in MACHINE_KEYS:
            continue
        if is_later_key(node.command, key, value):
            continue
        if key in needed:
            reference = needed[key]
            # What follows the stage's folder, e.g. policy or policy/tokenizer.json; the folder itself may move.
            inside = str(Path(value).relative_to(node.folder.parent / reference.stage))
            told[key] = ["artefact", artefacts[reference.stage, reference.output], inside]
        elif isinstance(value, str) and is_input(node, key) and (path := _named(value, key)) is not None:
            told[key] = [value, (hash_input or hash_path)(path)]
        else:
            told[key] = value
    return digest({"format": FORMAT, "command": node.command, "config": told})


def is_later_key(command: str, key: str, value: Any) -> bool:
    """True for a key that a stage got after `FORMAT`, at the value that leaves it what it was: a stage that ended
    before there was the key need not run again."""
    name = key.rpartition(".")[2]
    if name not in LATER_KEYS or command in HAD_FROM_THE_START.get(name, ()):
        return False
    return value == LATER_KEYS[name]


def is_input(node: Node, key: str) -> bool:
    """True if the value of this key may name a file or folder."""
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in node.stage.inputs)


def _named(value: str, key: str) -> Path | None:
    """`input_path`, or the file of a `package.module:function`; but a reward's "." or "/" is a sign, not the folder
    with all that is in it."""
    if ".params." in key:
        return input_path(value) if Path(value).name else None
    return input_path(value) or module_file(value)


def module_file(value: str) -> Path | None:
    """The file of a module of the user's own that a value names a function of; None for this project's (`FORMAT`)."""
    module, _, function = value.partition(":")
    if not function.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        return None
    if module.partition(".")[0] in OWN_PACKAGES:
        return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None


def input_path(value: str) -> Path | None:
    """The file or folder that a value names, of `path.py:function` the file; None if there is none."""
    file, colon, _ = value.rpartition(":")
    for text in (Path(value) if value else None, Path(file).expanduser() if colon and file else None):
        try:
            if text is not None and text.exists():
                return text
        except OSError:  # a text too long for a name, e.g. a judge's instructions
            continue
    return None


def missing_inputs(node: Node) -> list[str]:
    """Files that the stage is to read and that are not there, each as a fault; such as another stage makes left out.

    A key cannot be reckoned without them, and what the stage made of them before would be taken for out of date.
    """
    made = {reference.key for reference in node.needs}
    faults = []
    for value, key in leaves(node.config.model_dump(mode="json")):
        if key in made or not isinstance(value, str) or not is_input(node, key) or ".params." in key:
            continue
        is_code = ".py:" in value
        file = Path(value.rpartition(":")[0]).expanduser() if is_code else Path(value)
        is_missing_folder = value.endswith("/") and source_kind(value) == "file" and not file.is_dir()
        if is_missing_folder or ((is_code or value.endswith(FILE_ENDINGS)) and not file.is_file()):
            faults.append(
                f"stage {node.name}: {key} = {value!r}: no such file; give a path from the directory that the command "
                f"runs in ({Path.cwd()})"
            )
    return faults


def hash_path(path: Path) -> str:
    """Hash of a file's content, or of a folder's files by name and content."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        return digest({str(p.relative_to(path)): hash_file(p) for p in files})
    return hash_file(path)


def hash_file(path: Path) -> str:
    """16 hex digits of the content; of a JSON object without its volatile keys."""
    if path.suffix == ".json":
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            content = None
        if isinstance(content, dict):
            return digest({k: v for k, v in content.items() if k not in VOLATILE})
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def digest(value: Any) -> str:
    """16 hex digits of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]
