"""Finds the callable that a recipe names: built in, entry point, `package.module:function`, `path/file.py:function`."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal  # Any: an object of the user, which the caller checks

from policies.json_types import JsonMapping
from rewards.errors import RewardLoadError
from rewards.signatures import RewardFunction, recognise
from rewards.types import NO_NEEDS, Needs

ENTRY_POINT_GROUP = "grpo.rewards"
TOOLKIT = ("grpo", "data_recipes", "rewards", "rollout", "policies")
"""The packages of this toolkit."""


@dataclass(frozen=True)
class Builtin:
    """A reward of this package: its function, and how it is run."""

    target: str
    runs_inline: bool
    """True if it is linear in its input and cannot hang: it then runs in the caller's process."""
    summary: str
    asks_llm: bool = False
    """True if it asks a language model by `llm`, under deadlines of its own: it runs in threads of the caller's
    process, as many as it may have requests in flight."""
    loads_model: bool = False
    """True if it holds a model, whose size sets its memory: its process then has no memory limit."""
    judges: Literal["answer", "format", "value"] = "answer"
    """The kind of judgement, for `grpo reward try`: right answers, the format alone, or a graded value."""
    bounds_s: Mapping[str, float] = field(default_factory=dict)
    """Parameters that bound a call's time from inside, with their defaults; see `own_seconds`."""
    needs: Needs = NO_NEEDS
    """What the data must have: without it every sample abstains."""
    also_reads: tuple[str, ...] = ()
    """Columns that it reads where a row has them."""


BUILTINS: dict[str, Builtin] = {
    "accuracy": Builtin(
        "rewards.math.accuracy:accuracy",
        False,
        "final answer equals the reference, by value",
        needs=Needs(answer=True),
    ),
    "math_verify": Builtin(
        "rewards.math.math_verify:math_verify",
        False,
        "the same by the package math-verify alone: a second opinion",
        needs=Needs(answer=True),
    ),
    "format": Builtin(
        "rewards.text.format:format_reward",
        True,
        "<think>…</think><answer>…</answer> and nothing else",
        judges="format",
    ),
    "format_r1": Builtin(
        "rewards.text.format:format_r1_reward", True, "<think>…</think> and a summary", judges="format"
    ),
    "code": Builtin(
        "rewards.code.reward:Code",
        False,
        "the answer's program passes the row's tests, in the sandbox",
        needs=Needs(reads=(("programming_language", "programming language"),)),
        also_reads=("tests", "test", "test_list", "input_output", "entry_point", "setup"),
        bounds_s={"total_s": 8.0, "compile_s": 30.0, "wait_s": 30.0},
    ),
    "mcq": Builtin(
        "rewards.math.choice:mcq",
        True,
        "chosen option letters equal the reference",
        needs=Needs(answer=True),
        also_reads=("choices",),
    ),
    "language_consistency": Builtin(
        "rewards.text.language:language_consistency",
        True,
        "share of target-language words in the reasoning",
        judges="value",
        needs=Needs(frozenset({"language"}), reads=(("language", "natural language"),)),
    ),
    "overlong": Builtin(
        "rewards.text.length:overlong", True, "DAPO's soft length punishment, -1 … 0", judges="value"
    ),
    "repetition": Builtin(
        "rewards.text.repetition:repetition", True, "share of repeated n-grams, -1 … 0", judges="value"
    ),
    "reward_model": Builtin(
        "rewards.model.reward:RewardModel",
        False,
        "a trained reward model's judgement (params: model)",
        loads_model=True,
        judges="value",
    ),
    "judge_correctness": Builtin(
        "rewards.judges.rewards:Correctness",
        False,
        "a language model says if the answer means the reference (llm)",
        asks_llm=True,
        needs=Needs(answer=True),
    ),
    "judge_safety": Builtin(
        "rewards.judges.rewards:Safety",
        False,
        "a language model says if thought and summary are safe (llm)",
        asks_llm=True,
        judges="value",
    ),
    "judge_quality": Builtin(
        "rewards.judges.rewards:Quality",
        False,
        "mean grade of a language model's votes, 0 … 1, by a rubric (llm)",
        asks_llm=True,
        judges="value",
    ),
}


def load_reward(name: str, params: JsonMapping | None = None) -> RewardFunction:
    """Resolve, import and recognise a reward **in this process**. Hosts call it; elsewhere use `pool.check_reward`.

    Raises:
        RewardLoadError: what was looked for, what was found instead, and the nearest names.
    """
    target = _resolve(name)
    if name in BUILTINS and (warm_up := getattr(sys.modules[target.__module__], "warm_up", None)):
        warm_up()
    function = recognise(name, target, params or {})
    return replace(function, needs=BUILTINS[name].needs) if name in BUILTINS else function


def load_function(name: str) -> Any:
    """Import the object that a name means in this process, whatever its signature: the caller checks it (hence `Any`).

    Raises:
        RewardLoadError: as `load_reward`.
    """
    return _resolve(name)


def origin(name: str) -> str:
    """Return where a reward is found: "built in", an entry point, or a file. It is not loaded, but its package is.

    Raises:
        RewardLoadError: there is none.
    """
    if name in BUILTINS:
        return "built in"
    place, colon, _ = name.rpartition(":")
    if not colon:
        points = entry_points()
        if name in points:
            distribution = points[name].dist
            return f"{points[name].value} of {distribution.name if distribution else 'an installed package'}"
        raise RewardLoadError(f"no reward {name!r}: `grpo reward list` names all")
    if _is_path(place):
        path = Path(place).expanduser().resolve()
        if not path.is_file():
            raise RewardLoadError(f"reward {name!r}: no file {path}")
        return str(path)
    try:
        spec = importlib.util.find_spec(place)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        raise RewardLoadError(f"reward {name!r}: no module {place!r} on the Python path")
    return spec.origin or place


def runs_inline(name: str) -> bool:
    """Return True for built-in rewards that need no host."""
    return name in BUILTINS and BUILTINS[name].runs_inline


def asks_llm(name: str) -> bool:
    """Return True for built-in rewards that ask a language model."""
    return name in BUILTINS and BUILTINS[name].asks_llm


def own_seconds(name: str, params: JsonMapping) -> float:
    """Return the time that a call of a built-in reward may take by its own bounds, in seconds; 0 if it has none.

    The deadline of its process is never below it: a program that the reward ends gets a value, a row that the deadline
    ends has no verdict.
    """
    bounds = BUILTINS[name].bounds_s if name in BUILTINS else {}
    return sum(float(params.get(key, default)) for key, default in bounds.items()) + 5.0 if bounds else 0.0


def with_absolute_path(name: str, base: Path) -> str:
    """`path/file.py:function` relative to `base` made absolute, for workers with another working directory."""
    path, colon, attribute = name.rpartition(":")
    if not colon or not _is_path(path):
        return name
    return f"{(base / Path(path).expanduser()).resolve()}:{attribute}"


def entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    """Rewards that installed packages offer, by name."""
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}


def _resolve(name: str) -> object:
    if name in BUILTINS:
        return _attribute(name, *_split(name, BUILTINS[name].target))
    if ":" in name:
        return _attribute(name, *_split(name, name))
    if _is_path(name):
        raise RewardLoadError(f"reward {name!r} is a file: name a function in it, as {name}:function")
    points = entry_points()
    if name in points:
        try:
            found: object = points[name].load()
            return found
        except BaseException as error:
            raise RewardLoadError(
                f"reward {name!r}: its entry point {points[name].value} failed: {_last(error)}"
            ) from error
    known = sorted({*BUILTINS, *points})
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}."
    raise RewardLoadError(
        f"no reward {name!r}: {hint} A function of your own is named package.module:function or path/file.py:function"
    )


def _split(name: str, target: str) -> tuple[ModuleType, str]:
    place, _, attribute = target.rpartition(":")
    if not place or not attribute:
        raise RewardLoadError(f"reward {name!r}: write package.module:function or path/file.py:function")
    return (_load_file(name, place) if _is_path(place) else _import(name, place)), attribute


def _is_path(place: str) -> bool:
    return place.endswith(".py") or os.sep in place


def _import(name: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            hint = (
                f"; there is a file {module}.py here: name it ./{module}.py:…"
                if Path(f"{module}.py").exists()
                else ""
            )
            raise RewardLoadError(
                f"reward {name!r}: no module {error.name!r} on the Python path{hint}"
            ) from error
        raise RewardLoadError(f"reward {name!r}: importing {module} failed: {_last(error)}") from error
    except BaseException as error:
        raise RewardLoadError(f"reward {name!r}: importing {module} failed: {_last(error)}") from error


def _load_file(name: str, place: str) -> ModuleType:
    path = Path(place).expanduser().resolve()
    if not path.is_file():
        siblings = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, siblings, n=3)
        if near:
            hint = f"did you mean {' or '.join(near)}?"
        else:
            hint = f"Python files there: {', '.join(siblings[:8]) or 'none'}"
        raise RewardLoadError(f"reward {name!r}: no file {path}; {hint}")
    unique = f"reward_file_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if unique in sys.modules:
        return sys.modules[unique]
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        raise RewardLoadError(f"reward {name!r}: {path} is not a Python file (expected the ending .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    sys.path.insert(0, str(path.parent))  # files beside it, as when the file is run as a script
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[unique]
        sys.path.remove(str(path.parent))
        raise RewardLoadError(f"reward {name!r}: running {path} failed: {_last(error)}") from error
    return module


def _attribute(name: str, module: ModuleType, attribute: str) -> object:
    value: object = module
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            where = getattr(module, "__file__", None) or module.__name__
            offered = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
            own = [
                n for n in offered if getattr(vars(module)[n], "__module__", None) == module.__name__
            ] or offered
            near = difflib.get_close_matches(part, own, n=3)
            hint = (
                f"did you mean {' or '.join(near)}?"
                if near
                else f"found: {', '.join(own[:12]) or 'no function'}"
            )
            raise RewardLoadError(
                f"reward {name!r}: {where} has no {attribute!r}; {hint}{_own_file(module)}"
            ) from None
    return value


def _own_file(module: ModuleType) -> str:
    """Return a hint for a module of this toolkit if a file of its name is here, which the name cannot mean."""
    file = Path(f"{module.__name__.replace('.', os.sep)}.py")
    if module.__name__.partition(".")[0] not in TOOLKIT or not file.is_file():
        return ""
    return f". That is the toolkit's own package; the file {file} here is ./{file}:…"


def _last(error: BaseException) -> str:
    """Describe the exception with the line it came from."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error}"  # which names file and line
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
