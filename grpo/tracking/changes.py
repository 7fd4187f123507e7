"""What has changed between the config that a run directory records and the one that a command brings.

    for change in find_changes(run_dir, config):      optimizer.lr, 1e-06, 2e-06, identity
        …

The kind stands beside each key (`policies.settings`). An operational key may change at every start; a change of an
identity key is refused unless the command allows it. A key that names a model, data or code is the same if what it
names is: `grpo.tracking.run_dir.check_or_write_manifest` compares the content.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from grpo.common.config_io import differences, dump
from grpo.common.errors import BrokenRun
from grpo.common.recipe_paths import start_folder
from grpo.config.kinds import is_marked, kind_of
from policies.digests import digest_file
from policies.json_types import JsonDict
from policies.settings import KeyKind, KeyMark

CONFIG = "config.json"
OWN_PACKAGES = ("grpo", "data_recipes", "rewards", "rollout", "policies")
_allowed: ContextVar[bool] = ContextVar("allowed", default=False)


@dataclass(frozen=True)
class Change:
    """One key whose value is not the recorded one."""

    key: str
    old: object
    new: object
    kind: KeyKind
    is_length: bool = False
    """The key says how long the run goes on."""
    is_content: bool = False
    """The key names something, whose content decides."""

    def __str__(self) -> str:
        """Return `optimizer.lr: 1e-06 there, 2e-06 now`."""
        return f"{self.key}: {self.old!r} there, {self.new!r} now"


@contextmanager
def allow_changes(allowed: bool) -> Iterator[None]:
    """Let identity keys change inside the block, if `allowed`: what `--allow-change` does."""
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


def changes_allowed() -> bool:
    """Return True inside `allow_changes(True)`."""
    return _allowed.get()


def find_changes(run_dir: Path, config: BaseModel) -> list[Change]:
    """Compare a config with the one that the run directory records, key by key; where it is, is no part of a run.

    Raises:
        BrokenRun: config.json is not JSON.
    """
    path = run_dir / CONFIG
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(old, dict):
            raise ValueError(f"it holds {type(old).__name__}, not an object")
    except ValueError as error:
        raise BrokenRun(f"{path} is not JSON ({error}); delete {run_dir} to start over") from error
    with suppress(ValidationError):  # a key that was added since has its default in the old run
        old = json.loads(dump(type(config).model_validate_json(json.dumps(old), strict=True)))
    found = differences(old, json.loads(dump(config)))
    began_in = start_folder(run_dir)
    return [
        _change(type(config), key, before, now)
        for key, before, now in found
        if key != "run_dir" and not _is_same_place(before, now, began_in)
    ]


def _is_same_place(old: object, new: object, began_in: Path | None) -> bool:
    """Return True for a path from where the run was started, and the same in full."""
    return isinstance(old, str) and began_in is not None and new == str(began_in / old)


def _change(config: type[BaseModel], key: str, old: object, new: object) -> Change:
    try:
        kind = kind_of(config, key)
    except KeyError:  # a key that this version no longer has
        kind = KeyKind.IDENTITY
    is_content = is_marked(config, key, KeyMark.CONTENT) or (
        is_marked(config, key, KeyMark.CODE) and _are_same_function(old, new)
    )
    return Change(key, old, new, kind, is_marked(config, key, KeyMark.LENGTH), is_content)


def _are_same_function(old: object, new: object) -> bool:
    """Return True for "a.py:exact" and "/there/a.py:exact", whose file's content decides."""
    if not isinstance(old, str) or not isinstance(new, str):
        return False
    (file, _, function), (new_file, _, new_function) = old.rpartition(":"), new.rpartition(":")
    return file.endswith(".py") and new_file.endswith(".py") and function == new_function


def code_digests(config: BaseModel) -> dict[str, str]:
    """Return the digest of each file of code that a config names, by key: rewards, losses, advantages."""
    leaves = _leaves(json.loads(dump(config)))
    named = ((key, value) for key, value in leaves if is_marked(type(config), key, KeyMark.CODE))
    files = {key: code_file(value) for key, value in named if isinstance(value, str)}
    return {key: digest_file(file) for key, file in files.items() if file is not None}


def code_file(value: str) -> Path | None:
    """Return the user's file that "path/file.py:function" or "package.module:function" names; None if there is none."""
    file, _, function = value.rpartition(":")
    if file.endswith(".py"):
        path = Path(file).expanduser()
        return path if path.is_file() else None
    return module_file(value) if function else None


def module_file(value: str) -> Path | None:
    """Return the file of the user's module whose function a value names; None for one of this project."""
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


def _leaves(node: object, path: Sequence[str] = ()) -> Iterator[tuple[str, object]]:
    if isinstance(node, dict | list):
        items = node.items() if isinstance(node, dict) else ((str(i), item) for i, item in enumerate(node))
        for name, item in items:
            yield from _leaves(item, (*path, name))
    else:
        yield ".".join(path), node


def as_rows(changes: Sequence[Change], step: int | None, when: str) -> list[JsonDict]:
    """Return the changes as manifest.json records them."""
    return [
        {"when": when, "step": step, "key": c.key, "old": c.old, "new": c.new, "kind": c.kind.value}
        for c in changes
    ]
