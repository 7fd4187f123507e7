"""The state of a stage's folder: node.json in it, written before the stage begins and after it has ended.

    run_dir/zero/node.json       {"key", "state": "begun" or "done", "config", "outputs", "seconds", "peak_mib"}
    run_dir/.old/zero/           what the folder held before a changed key set it aside

The graph never touches a folder without node.json: it has not made it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from grpo.common.errors import BrokenRun
from grpo.graph.keys import content_files, hash_file
from grpo.graph.parse import Node
from policies.digests import digest_json
from policies.files import write_atomic
from policies.json_types import JsonDict

FILE = "node.json"
FileState = list[int | str]
"""[bytes, mtime in ns, hash of the content] of a file, as JSON has it."""
OLD = ".old"


@dataclass(frozen=True)
class Artefact:
    """One output, as it was when the stage ended."""

    hash: str
    files: dict[str, FileState]
    """Relative path ("" for a file itself) → state."""


@dataclass(frozen=True)
class NodeState:
    """node.json."""

    key: str
    state: Literal["begun", "done"]
    config: JsonDict
    """The resolved config that the stage began with."""
    outputs: dict[str, Artefact] = field(default_factory=dict)
    seconds: float = 0.0
    """Wall time of all calls together."""
    peak_mib: float | None = None
    """Peak memory of the stage's processes together, in MiB."""

    def hashes(self) -> dict[str, str]:
        """Return the hash of each artefact by its name."""
        return {name: artefact.hash for name, artefact in self.outputs.items()}


def read_state(folder: Path) -> NodeState | None:
    """Return the state; None for a folder that is missing or empty.

    Raises:
        BrokenRun: the folder was not made by a graph, or node.json is damaged.
    """
    path = folder / FILE
    if not path.exists():
        if folder.exists() and any(not p.name.startswith(".") for p in folder.iterdir()):
            raise BrokenRun(
                f"{folder} was not made by this graph (it has no {FILE}) and is left as it is; move it away, or choose "
                "another run_dir (--set graph.run_dir=…)"
            )
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        outputs = {name: Artefact(**value) for name, value in content.pop("outputs").items()}
        return NodeState(**content, outputs=outputs)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BrokenRun(f"{path} is damaged ({error}); delete {folder} to run the stage again") from error


def write_state(folder: Path, state: NodeState) -> None:
    """Write node.json atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / FILE, json.dumps(asdict(state), indent=1) + "\n")


def set_aside(folder: Path) -> None:
    """Move a stage's folder to .old; replaces what .old held of the same stage."""
    if not folder.exists():
        return
    target = folder.parent / OLD / folder.name
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    folder.rename(target)


def take_artefacts(node: Node) -> dict[str, Artefact]:
    """Hash every output of a stage that has ended.

    Raises:
        BrokenRun: an output is missing.
    """
    return {name: take_artefact(node.output(name), name, node.name) for name in node.stage.outputs}


def take_artefact(path: Path, name: str, stage: str) -> Artefact:
    """Hash one output.

    Raises:
        BrokenRun: it is missing.
    """
    if not path.exists():
        raise BrokenRun(f"stage {stage} ended without its {name}: {path} is missing")
    files = {key: _state(file) for key, file in _files(path).items()}
    return Artefact(_hash(files), files)


def current_artefact(path: Path, known: Artefact) -> Artefact | None:
    """Return the artefact as it is now; None if a file is missing or has other content.

    A file of the known size and time is not hashed again.
    """
    found = _files(path)
    if found.keys() != known.files.keys():
        return None
    files = {}
    for key, file in found.items():
        before = known.files[key]
        files[key] = before if _stat(file) == before[:2] else _state(file)
    return Artefact(known.hash, files) if _hash(files) == known.hash else None


def _files(path: Path) -> dict[str, Path]:
    if path.is_dir():
        return content_files(path)
    return {"": path} if path.exists() else {}


def _stat(path: Path) -> FileState:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _state(path: Path) -> FileState:
    return [*_stat(path), hash_file(path)]


def _hash(files: Mapping[str, FileState]) -> str:
    if list(files) == [""]:
        return str(files[""][2])
    return digest_json({key: value[2] for key, value in files.items()})
