"""Reads recipes into checked configs: TOML file or shipped name, `--set key=value`, errors that name the fix.

A recipe is written in TOML (comments, one meaning per literal, `false` for null); the resolved config is dumped as
JSON, which keeps nulls. Nothing here imports torch, Ray or vLLM: a wrong key is reported before anything heavy starts.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin  # Any: nodes of a TOML tree

from pydantic import BaseModel, ValidationError

from data_recipes.fields import show
from grpo.common.errors import ConfigError
from grpo.common.json_text import line_in_json, read_json
from grpo.common.key_hints import fields_at, hint, model_in, shape_of_section
from grpo.common.recipe_paths import nearest_recipe
from policies.json_types import JsonDict
from policies.paths import expand
from policies.settings import Settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ConfigT = TypeVar("ConfigT", bound=BaseModel)
MAX_SHOWN = 120
"""Characters of a wrong value that a message repeats."""
BLANK_PATH = "Expected a file, a folder or a name; a shell variable that is not set leaves nothing"


def shipped_recipes() -> list[str]:
    """List the names that work instead of a file: the TOML files in data_recipes/recipes."""
    folder = resources.files("data_recipes.recipes")
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def find_recipe(recipe: str) -> tuple[str, str]:
    """Return (name for messages, TOML text) of a recipe file or shipped name.

    Raises:
        ConfigError: neither a file nor a shipped name.
    """
    path = Path(expand(recipe))
    if _is_file(path):
        try:
            return str(path), path.read_text(encoding="utf-8-sig")  # with or without a byte order mark
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{path}: not UTF-8 at byte {error.start + 1}; save the file as UTF-8"
            ) from None
    names = shipped_recipes()
    if recipe in names:
        text = resources.files("data_recipes.recipes").joinpath(f"{recipe}.toml").read_text(encoding="utf-8")
        return f"{recipe}.toml", text
    hint = nearest_recipe(recipe, names)
    raise ConfigError(f"no recipe {recipe!r}{hint}: neither a file nor one of {', '.join(names) or '(none)'}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # longer than any name
        return False


def load_config(kind: type[ConfigT], recipe: str, overrides: Sequence[str] = ()) -> ConfigT:
    """Read a recipe, apply `--set` overrides and check the whole.

    Args:
        kind: the stage's config class.
        recipe: TOML file or shipped name.
        overrides: "a.b=c" each; c is a TOML literal, or else taken as a string.

    Raises:
        ConfigError: names file, line, key path, the value found and the fix; all errors in one message.
    """
    name, text, tree = read_recipe(recipe)
    stage = kind.model_fields["stage"].default if "stage" in kind.model_fields else None
    if stage:
        refuse_other_stage(name, tree, stage)
    return check(kind, tree, name, text, apply_overrides(tree, overrides))


def read_recipe(recipe: str) -> tuple[str, str, JsonDict]:
    """Return the name for messages, the text and the tree of one stage's recipe, or of a run's config.json.

    The folder of a run stands for its config.json, and for itself as the place to go on in, wherever it is now.

    Raises:
        ConfigError: there is no such recipe, it is not TOML or JSON, or it is a graph's.
    """
    folder = Path(recipe).expanduser()
    if os.path.isdir(folder) and recipe not in shipped_recipes():  # False for a text longer than any name
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{recipe}: a folder without config.json, so not a run; give a recipe (TOML)")
        name, text = find_recipe(str(folder / "config.json"))
        tree = read_json(name, text)
        if "stage" not in tree:
            raise ConfigError(f"{name}: has no key stage, so {recipe} is not a run; give a recipe (TOML)")
        return name, text, tree | {"run_dir": recipe}
    name, text = find_recipe(recipe)
    if name.endswith(".json"):
        return name, text, read_json(name, text)
    tree = read_toml(name, text)
    refuse_graph(name, tree)
    return name, text, tree


def refuse_other_stage(name: str, tree: JsonDict, stage: str) -> None:
    """Refuse the recipe of another stage.

    Raises:
        ConfigError: names both stages.
    """
    if tree.get("stage", stage) != stage:
        raise ConfigError(
            f"{name}: stage = {tree['stage']!r}, but this command runs {stage!r}; use `grpo {tree['stage']}`"
        )


def apply_overrides(tree: JsonDict, overrides: Sequence[str]) -> dict[str, str]:
    """Set the key of every "a.b=c" in the tree; returns key path → the override that set it.

    Raises:
        ConfigError: an override that is none, or whose path leads through something that is no section.
    """
    set_from = {}
    for override in overrides:
        key, value = parse_override(override)
        set_key(tree, key, value)
        set_from[".".join(key)] = override
    return set_from


def refuse_graph(name: str, tree: JsonDict) -> None:
    """Refuse a graph's recipe that was given to the command of one stage, and name `grpo run`.

    Raises:
        ConfigError: it is a graph's recipe.
    """
    if "graph" in tree and "stages" in tree:
        raise ConfigError(f"{name}: a graph of stages; use `grpo run`")


RENAMED_KEYS = {
    "algorithm.no_spread": "algorithm.zero_variance",
    "guards.max_no_spread": "guards.max_zero_variance",
    "guards.max_engine_learner_gap": "guards.max_logprob_mismatch",
    "policy.router_bias_rate": "router.bias_rate",
    "router_bias_rate": "router.bias_rate",
    "sequence_balance": "router.sequence_loss",
    "mtp_weight": "mtp.weight",
}
"""Keys of earlier versions by the name that they have now; a recipe with an old name is refused with the new one."""


def read_toml(name: str, text: str) -> JsonDict:
    """Parse a TOML text; `name` is for the message.

    Raises:
        ConfigError: the text is not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not valid TOML: {error}") from error


def check(
    kind: type[ConfigT],
    tree: JsonDict,
    name: str,
    text: str = "",
    set_from: dict[str, str] | None = None,
    places: dict[str, str] | None = None,
) -> ConfigT:
    """Validate a config tree.

    Args:
        kind: the config class.
        tree: what was written.
        name: file, for messages.
        text: its TOML, to find the line of a key in.
        set_from: key path → the `--set` that it comes from.
        places: key path → another place that it comes from, for messages.

    Raises:
        ConfigError: lists all errors.
    """
    problems: list[ErrorDetails] = [
        {"loc": path, "type": "blank_path", "msg": BLANK_PATH, "input": value}
        for path, value in _blank_paths(kind, tree)
    ]
    try:
        config = kind.model_validate_json(json.dumps(_nulls(kind, tree), default=str), strict=True)
        if not problems:
            return config
    except ValidationError as error:
        problems += error.errors()
    given = {key: f"--set {override!r}" for key, override in (set_from or {}).items()} | {
        key: place for key, place in (places or {}).items() if key not in (set_from or {})
    }
    errors = [_explain(kind, problem, name, text, given) for problem in problems]
    raise ConfigError("\n".join(dict.fromkeys(errors)))


def parse_override(override: str) -> tuple[list[str], object]:
    """Split "a.b=c" into (["a", "b"], value); c is read as a TOML literal, else as a string.

    Raises:
        ConfigError: no "=" or an empty key.
    """
    key, equals, literal = override.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise ConfigError(f"--set {override!r}: expected key=value, e.g. --set optimizer.lr=1e-6")
    try:
        value = tomllib.loads(f"value = {literal}")["value"]
    except tomllib.TOMLDecodeError:
        value = literal
    return key.strip().split("."), value


def dump(config: BaseModel) -> str:
    """Return the resolved config as JSON text, with every default written out."""
    return json.dumps(config.model_dump(mode="json"), indent=2, sort_keys=False) + "\n"


def differences(old: JsonDict, new: JsonDict, prefix: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield (key path, old value, new value) wherever two resolved configs differ.

    Lists of sections of the same length are compared section by section: "rewards.0.timeout_s".
    """
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and _are_sections([*a, *b]):
            a, b = ({str(i): section for i, section in enumerate(sections)} for sections in (a, b))
        if isinstance(a, dict) and isinstance(b, dict):
            yield from differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key}", a, b


def _are_sections(nodes: Sequence[object]) -> bool:
    return all(isinstance(node, dict) for node in nodes)


def set_key(tree: JsonDict, key: Sequence[str], value: object) -> None:
    """Put a value into a config tree at a key path; a part of the path that meets a list is an index.

    Raises:
        ConfigError: the path leads through something that is no section.
    """
    node: Any = tree
    for i, part in enumerate(key):
        last = i == len(key) - 1
        if not isinstance(node, dict | list):
            raise ConfigError(f"--set {'.'.join(key)}: {'.'.join(key[:i])} holds {node!r}, not a section")
        if isinstance(node, list):
            try:
                node[int(part)]
            except (ValueError, IndexError):
                raise ConfigError(
                    f"--set {'.'.join(key)}: {'.'.join(key[:i])} is a list of {len(node)}; "
                    f"use an index 0…{len(node) - 1}"
                ) from None
            if last:
                node[int(part)] = value
            else:
                node = node[int(part)]
        elif last:
            node[part] = value
        else:
            node = node.setdefault(part, {})


def _nulls(kind: object, tree: object) -> object:
    """Return the tree with null where `false` stands for it.

    TOML has no null; `false` stands for it in a key that may be None and is not a switch itself.
    """
    if isinstance(tree, list):
        return [_nulls(kind, item) for item in tree]
    fields = getattr(kind, "model_fields", {})
    if not isinstance(tree, dict) or not fields:
        return tree
    result: dict[str, object] = {}
    for key, value in tree.items():
        annotation = fields[key].annotation if key in fields else None
        if value is False and type(None) in get_args(annotation) and bool not in get_args(annotation):
            value = None
        inner = model_in(annotation)
        if get_origin(annotation) is dict and isinstance(value, dict):  # sections under names
            result[key] = {name: _nulls(inner, item) for name, item in value.items()}
        else:
            result[key] = _nulls(inner, value)
    return result


def _blank_paths(
    kind: object, tree: object, path: tuple[int | str, ...] = ()
) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Yield path and value of every key that may name a file and holds white space alone: `""` would be `.`."""
    if isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _blank_paths(kind, item, (*path, index))
    fields = getattr(kind, "model_fields", {})
    if not isinstance(tree, dict):
        return
    for key, value in tree.items():
        if key not in fields:
            continue
        if isinstance(value, str):
            if (
                not value.strip()
                and isinstance(kind, type)
                and issubclass(kind, Settings)
                and kind.names_path(key)
            ):
                yield (*path, key), value
        elif get_origin(fields[key].annotation) is dict and isinstance(value, dict):  # sections under names
            for name, item in value.items():
                yield from _blank_paths(model_in(fields[key].annotation), item, (*path, key, name))
        else:
            yield from _blank_paths(model_in(fields[key].annotation), value, (*path, key))


def _explain(kind: type[BaseModel], error: ErrorDetails, name: str, text: str, places: dict[str, str]) -> str:
    path = [p for p in error["loc"] if not (isinstance(p, str) and p.startswith("function-"))]
    key = ".".join(str(p) for p in path)
    where = next((place for k, place in places.items() if k == key or key.startswith(k + ".")), "")
    if not where:
        place = path[:-1] if error["type"] == "missing" else path
        line = line_in_json(text, place) if name.endswith(".json") else line_of(text, place)
        where = f"{name}, line {line}" if line else name
    found = error.get("input")
    if error["type"] == "extra_forbidden":
        if key in RENAMED_KEYS:
            return f"{where}: {key} is now called {RENAMED_KEYS[key]}; rename it"
        known, meant = fields_at(kind, path[:-1]), hint(kind, path)
        listing = f"; known keys here: {', '.join(known)}" if known and not meant else ""
        return f"{where}: unknown key {key} = {show(found, MAX_SHOWN)}{meant}{listing}"
    if error["type"] == "missing":
        return f"{where}: {key} is missing; add it to the recipe or give --set {key}=…"
    message = shape_of_section(error["type"], key, found) or error["msg"].removeprefix("Value error, ")
    if not key:
        return f"{where}: {message}"
    shown = "" if isinstance(found, dict | list) else f" = {show(found, MAX_SHOWN)}"
    return f"{where}: {key}{shown}: {message[0].lower()}{message[1:]}"


def line_of(text: str, path: Sequence[object]) -> int | None:
    """Find the line of a key in the TOML text, by section header, then key; None for a default or a `--set`."""
    names = [str(p) for p in path if not isinstance(p, int)]
    index = next((p for p in path if isinstance(p, int)), 0)
    for depth in range(len(names), 0, -1):
        section, leaf = names[: depth - 1], names[depth - 1 :]
        header = re.compile(
            r"^\s*\[\[?\s*" + r"\s*\.\s*".join(map(re.escape, section)) + r"\s*\]\]?\s*(#.*)?$"
        )
        key = re.compile(r"^\s*" + r"\s*\.\s*".join(map(re.escape, leaf)) + r"\s*=")
        seen, inside = -1, not section
        for number, line in enumerate(text.splitlines(), 1):
            if re.match(r"^\s*\[", line):
                inside = bool(section) and bool(header.match(line))
                if inside:
                    seen += 1
                    inside = seen == index or "[[" not in line
            elif inside and key.match(line):
                return number
    section_header = re.compile(r"^\s*\[\[?\s*" + r"\s*\.\s*".join(map(re.escape, names)) + r"\s*\]\]?")
    return next((n for n, line in enumerate(text.splitlines(), 1) if section_header.match(line)), None)
