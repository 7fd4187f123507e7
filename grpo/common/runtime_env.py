"""What workers on other machines get of this one: environment variables and the project's files (Ray's runtime_env).

    runtime_env(env=["HF_TOKEN", "MODE=fast"], working_dir=Path("."))
    hand_over(…)         for the Ray session that this process, or a stage's process that it starts, will open
    handed_over()        what that session takes

No Ray is imported here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from grpo.common.errors import ConfigError
from policies.json_types import JsonDict

VARIABLE = "GRPO_RUNTIME_ENV"
"""Environment variable that carries the JSON to the stages' own processes."""
EXCLUDED = (
    ".git", ".venv", "venv", "node_modules", "__pycache__", "*.pyc", "runs", "wandb", "mlruns", "*.safetensors",
    "*.gguf", "*.bin", "*.pt",
)  # fmt: skip
"""What a working directory leaves out, beside what its .gitignore names: histories, environments, runs, weights."""
SHOWN = 3


def runtime_env(
    env: Sequence[str] = (),
    working_dir: Path | None = None,
    py_modules: Sequence[Path] = (),
    exclude: Sequence[str] = (),
) -> JsonDict:
    """Return Ray's runtime_env; empty if nothing is asked for.

    Args:
        env: "NAME=VALUE", or "NAME" for the value that it has here.
        working_dir: folder whose files the workers get as their working directory.
        py_modules: folders of packages, or wheels, that the workers can import.
        exclude: patterns as in .gitignore that the folders leave out, beside `EXCLUDED`.

    Raises:
        ConfigError: a variable is not set here, or a folder is missing; names the option.
    """
    made: JsonDict = {}
    if variables := dict(_variable(text) for text in env):
        made["env_vars"] = variables
    for flag, path in (("--working-dir", working_dir), *(("--py-modules", path) for path in py_modules)):
        is_wheel = flag == "--py-modules" and path is not None and path.suffix == ".whl" and path.is_file()
        if path is not None and not path.is_dir() and not is_wheel:
            raise ConfigError(f"{flag} {path}: no such folder here")
    if working_dir is not None:
        made["working_dir"] = str(working_dir.resolve())
    if py_modules:
        made["py_modules"] = [str(path.resolve()) for path in py_modules]
    if working_dir is not None or py_modules:
        made["excludes"] = [*EXCLUDED, *exclude]
    elif exclude:
        raise ConfigError("--exclude is read with --working-dir or --py-modules only")
    return made


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name.replace("_", "a").isalnum() or name[0].isdigit():
        raise ConfigError(f"--env {text!r}: expected NAME or NAME=VALUE")
    if not equals and name not in os.environ:
        raise ConfigError(f"--env {name}: the variable is not set here; give --env {name}=VALUE")
    return name, value if equals else os.environ[name]


def hand_over(made: JsonDict) -> None:
    """Keep it for the session that this process or its children open."""
    if made:
        os.environ[VARIABLE] = json.dumps(made)


def handed_over() -> JsonDict:
    """Return what `hand_over` kept; empty if nothing."""
    found: JsonDict = json.loads(os.environ.get(VARIABLE, "{}"))
    return found


def for_workers(place: str) -> str:
    """Return an absolute path or `path.py:function` as workers find it: one inside the working directory is relative.

    Workers run in a copy of that directory, on every machine.
    """
    working_dir = handed_over().get("working_dir")
    path = Path(place)
    if working_dir is None or not path.is_absolute() or not path.is_relative_to(working_dir):
        return place
    return f"./{path.relative_to(working_dir)}"


def describe(made: JsonDict) -> str:
    """Return a line on what workers get, without the values of variables; "" for nothing."""
    parts = []
    if variables := made.get("env_vars"):
        parts.append(f"variables {', '.join(variables)}")
    parts += [f"files of {path}" for path in (made.get("working_dir"), *made.get("py_modules", ())) if path]
    return "; ".join(parts)


def too_large(made: JsonDict, error: Exception) -> ConfigError:
    """Return the error for folders that Ray does not take: names the largest parts and the option to leave them out."""
    parts: list[tuple[int, str]] = []
    patterns = made.get("excludes", ())
    for folder in (made.get("working_dir"), *made.get("py_modules", ())):
        entries = Path(folder).iterdir() if folder and Path(folder).is_dir() else ()
        parts += [(_size(e), e.name) for e in entries if not any(fnmatch(e.name, p) for p in patterns)]
    largest = ", ".join(
        f"{name} ({size / 10**6:,.1f} MB)" for size, name in sorted(parts, reverse=True)[:SHOWN]
    )
    return ConfigError(
        f"the files for the workers are too large for Ray ({error}); the largest parts: {largest}. Leave out what a "
        "run does not need: --exclude NAME"
    )


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
