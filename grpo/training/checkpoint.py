"""Checkpoints of a run: written beside their place, proven by a manifest, renamed; the newest whole one counts.

checkpoints/step-000020/   manifest.json            size and xxh3-128 of every file below
                           state.json               step, and what the caller adds (the prompt cursor)
                           policy/ optimizer.safetensors …     by Learner.save (grpo/training/trainer_state.py)
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from grpo.common.errors import BrokenRun, RunError
from policies.files import REPLACED, replace_folder, sync_tree
from policies.json_types import JsonDict, JsonMapping

log = logging.getLogger(__name__)

EXAMPLES = "examples"
"""What a supervised run adds to a checkpoint's state: how many examples its updates took, in the order of epochs."""
MANIFEST, STATE = "manifest.json", "state.json"
_PARTIAL, _DELETED = ".writing-", ".deleted-"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is whole."""

    path: Path
    step: int
    """Updates done."""
    extra: JsonDict = field(default_factory=dict)
    """JSON that the caller saved beside it."""


def save_checkpoint(
    root: Path,
    step: int,
    extra: JsonMapping,
    write: Callable[[Path], None],
    keep: int,
    protected: Sequence[int] = (),
) -> Checkpoint:
    """Write one checkpoint, all or nothing, and delete all but the newest `keep` and the protected.

    Args:
        root: folder of the run's checkpoints; created if missing.
        step: updates done.
        extra: small facts that JSON can hold.
        write: puts its files into the (empty) folder it is given.
        keep: ≥ 1.
        protected: steps whose checkpoints stay however old they are.

    Raises:
        RunError: the disk is full or cannot be written; older checkpoints are untouched and nothing half-written is
            left.
    """
    target = folder_of(root, step)
    building: Path | None = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        for left_over in (
            *root.glob(f"{_PARTIAL}*"),
            *root.glob(f"{_DELETED}*"),
            *root.glob(f".*{REPLACED}*"),
        ):
            shutil.rmtree(left_over, ignore_errors=True)
        building = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=root))
        building.chmod(0o755)
        write(building)
        (building / STATE).write_text(
            json.dumps({"step": step, "extra": dict(extra)}) + "\n", encoding="utf-8"
        )
        _write_manifest(building)
        # `target` exists where a resumed run redoes a step whose checkpoint was damaged.
        replace_folder(building, target)
    except Exception as error:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)
        if not _is_disk_error(error):
            raise
        raise RunError(
            f"cannot write checkpoint {target} ({error}); free space or choose another run_dir. "
            "The checkpoints before it are whole: the same command resumes from the last one"
        ) from error
    stay = {folder_of(root, kept) for kept in protected}
    for old in _newest_first(root)[keep:]:
        if old not in stay:
            _delete(old)
    return Checkpoint(target, step, dict(extra))


def folder_of(root: Path, step: int) -> Path:
    """Return the folder of the checkpoint after `step` updates."""
    return root / f"step-{step:06d}"


def whole_checkpoint(root: Path, step: int) -> Path:
    """Return the folder of a checkpoint that must be there.

    Raises:
        BrokenRun: it is missing or damaged.
    """
    path = folder_of(root, step)
    if (error := find_error(path)) is not None:
        raise BrokenRun(
            f"the best checkpoint {path} cannot be exported: {error}. The same command with "
            '--set best.export="last" exports the last one'
        )
    return path


def _delete(folder: Path) -> None:
    """Delete a checkpoint; killed in between, it leaves nothing that looks like one."""
    hidden = folder.with_name(f"{_DELETED}{folder.name}")
    try:
        folder.replace(hidden)
    except OSError:  # the name is taken by what an earlier call could not delete
        hidden = folder
    shutil.rmtree(hidden, ignore_errors=True)


def latest(root: Path) -> Checkpoint | None:
    """Find the newest whole checkpoint; damaged newer ones are passed over with a warning. None if there is none yet.

    Raises:
        BrokenRun: there are checkpoints, but all are damaged.
    """
    errors: list[str] = []
    for path in _newest_first(root):
        error = find_error(path)
        if error is None:
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            for line in errors:
                log.warning("%s; going back to %s", line, path)
            return Checkpoint(path, int(state["step"]), state["extra"])
        errors.append(f"checkpoint {path} is damaged: {error}")
    if errors:
        raise BrokenRun(
            "; ".join(errors) + f". No whole checkpoint is left: delete {root.parent} to start over"
        )
    return None


def find_error(path: Path) -> str | None:
    """Say what is wrong with a checkpoint: the first file that is missing or not as written. None if it is whole."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name, (size, digest) in manifest["files"].items():
            file = path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size:,} bytes, not {size:,}"
            if _digest(file) != digest:
                return f"{name} is corrupted (its digest differs)"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} cannot be read ({error})"
    return None if STATE in manifest["files"] else f"{MANIFEST} does not list {STATE}"


def _write_manifest(folder: Path) -> None:
    """Write the manifest last of all: a checkpoint without it is not one."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    entries = {str(p.relative_to(folder)): [p.stat().st_size, _digest(p)] for p in files}
    (folder / MANIFEST).write_text(json.dumps({"files": entries}, indent=1) + "\n", encoding="utf-8")
    sync_tree(folder)


def _digest(file: Path) -> str:
    """Return xxh3-128 of a file, which keeps up with a disk; policies/digests.py is for names and keys."""
    state = xxhash.xxh3_128()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def _newest_first(root: Path) -> list[Path]:
    return sorted((p for p in root.glob("step-*") if p.is_dir()), key=lambda p: p.name, reverse=True)


def _is_disk_error(error: BaseException) -> bool:
    """Tell if it is an OSError, also where safetensors reports it as its own error."""
    return isinstance(error, OSError) or type(error).__name__ == "SafetensorError"
