"""Checkpoints of a run: written beside their place, proven by a manifest, renamed; the newest whole one counts.

checkpoints/step-000020/   manifest.json            size and xxh3-128 of every file below
                           state.json               step, and what the caller adds (the prompt cursor)
                           policy/ optimizer.safetensors …     by Learner.save (grpo/training/trainer_state.py)

Several ranks write one checkpoint together: each its own files into the same folder beside the final name, and their
digests; then the first merges these into the manifest and renames the folder.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from grpo.common.errors import BrokenRun, RunError
from grpo.training.together import Alone, Team, write_folder
from policies.files import REPLACED, sync
from policies.json_types import JsonDict, JsonMapping

log = logging.getLogger(__name__)

EXAMPLES = "examples"
"""What a supervised run adds to a checkpoint's state: how many examples its updates took, in the order of epochs."""
MANIFEST, STATE = "manifest.json", "state.json"
_PARTIAL, _DELETED, _DIGESTS = ".writing-", ".deleted-", ".digests-"


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
    team: Team | None = None,
) -> Checkpoint:
    """Write one checkpoint, all or nothing, and delete all but the newest `keep` and the protected.

    All ranks of a team call it with the same arguments.

    Args:
        root: folder of the run's checkpoints; created if missing.
        step: updates done.
        extra: small facts that JSON can hold.
        write: puts this rank's files into the folder it is given, which is empty or holds other ranks' files. The
            names of theirs end in a number, "-00002-of-00004.safetensors" for the second.
        keep: ≥ 1.
        protected: steps whose checkpoints stay however old they are.
        team: the ranks; None: this process alone.

    Raises:
        RunError: the disk is full or cannot be written, here or on another rank; older checkpoints are untouched and
            nothing half-written is left.
    """
    team = team or Alone()
    target = folder_of(root, step)

    def write_part(building: Path) -> None:
        write(building)
        if team.ranks > 1:
            _write_digests(building, team)

    def finish(building: Path) -> None:
        state = json.dumps({"step": step, "extra": dict(extra)}) + "\n"
        (building / STATE).write_text(state, encoding="utf-8")
        _write_manifest(building, team.ranks)

    if team.rank == 0:
        _delete_left_overs(root)
    try:
        # `target` exists where a resumed run redoes a step whose checkpoint was damaged.
        write_folder(target, root / f"{_PARTIAL}{target.name}", write=write_part, finish=finish, team=team)
    except Exception as error:
        if not _is_disk_error(error):
            raise
        raise RunError(
            f"cannot write checkpoint {target} ({error}); free space or choose another run_dir. "
            "The checkpoints before it are whole: the same command resumes from the last one"
        ) from error
    if team.rank == 0:
        stay = {folder_of(root, kept) for kept in protected}
        for old in _newest_first(root)[keep:]:
            if old not in stay:
                _delete(old)
    return Checkpoint(target, step, dict(extra))


def _delete_left_overs(root: Path) -> None:
    for left_over in (
        *root.glob(f"{_PARTIAL}*"),
        *root.glob(f"{_DELETED}*"),
        *root.glob(f".*{REPLACED}*"),
    ):
        shutil.rmtree(left_over, ignore_errors=True)


def _write_digests(building: Path, team: Team) -> None:
    """Sync this rank's files and note their digests."""
    own = [path for path in building.rglob("*-of-*") if _owner(path.name, team.ranks) == team.rank]
    for path in own:
        sync(path)
    (building / f"{_DIGESTS}{team.rank}").write_text(json.dumps(_entries(building, own)), encoding="utf-8")


def _owner(name: str, ranks: int) -> int | None:
    """Return the rank that wrote a file with a number in its name; None for the others, which are the first's."""
    found = re.search(r"-(\d+)-of-\d+\.safetensors$", name)
    return None if found is None else (int(found[1]) - 1) % ranks


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


def _write_manifest(folder: Path, ranks: int) -> None:
    """Write the manifest last of all, from the ranks' digests: a checkpoint without it is not one."""
    entries: JsonDict = {}
    for rank in range(ranks if ranks > 1 else 0):
        part = folder / f"{_DIGESTS}{rank}"
        entries |= json.loads(part.read_text(encoding="utf-8"))
        part.unlink()
    files = [p for p in folder.rglob("*") if p.is_file() and str(p.relative_to(folder)) not in entries]
    entries |= _entries(folder, files)
    text = json.dumps({"files": dict(sorted(entries.items()))}, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _entries(folder: Path, files: Sequence[Path]) -> JsonDict:
    """Return size and digest of files by their names in the folder."""
    return {str(p.relative_to(folder)): [p.stat().st_size, _digest(p)] for p in files}


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
