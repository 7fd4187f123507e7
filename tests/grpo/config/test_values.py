"""One rule for every path of every recipe; numbers that nothing can hold are refused with their key, before launch."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from grpo.common.config_io import check, dump
from grpo.common.errors import ConfigError
from grpo.graph.config import GraphRecipe
from grpo.stages.registry import STAGES
from policies.paths import expand
from policies.settings import MOST, Settings
from tests.grpo.common.test_config_io import LEAST

STAGE = {"command": "rl", "recipe": "r.toml", "plan": {}, "gate": {"metric": "m", "at_least": 0.1}}
GRAPH = {"graph": {"run_dir": "x"}, "stages": {"a": STAGE}, "plan": {"machine": {"gpus": 8}}}
WHOLE: list[tuple[type[BaseModel], dict[str, Any]]] = [
    *((STAGES[command].config, written) for command, written in LEAST),
    (GraphRecipe, GRAPH),
]
"""A small recipe of every kind; with its defaults written out it has every key."""
ABSURD = (-1, -(10**30), 10**30, -1e300, 1e300)
ANY_SIZE = {"weight", "min_score", "label_above", "at_least", "at_most"}
"""Keys whose numbers may be negative: factors, and thresholds of rewards and figures."""


def leaves(kind: Any, tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """(path, config class or None) of every value that is no section; the class is the one that has the key."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        inner = (
            model_in(kind.model_fields[key].annotation) if key in getattr(kind, "model_fields", {}) else kind
        )
        if isinstance(value, dict | list) and inner is not None:
            yield from leaves(inner, value, (*path, key))
        else:
            yield (*path, key), kind


def model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := model_in(part)) is not None), None)


def full(kind: type[BaseModel], written: dict[str, Any]) -> Any:
    return json.loads(dump(kind.model_validate_json(json.dumps(written), strict=True)))


def with_value(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(tree))
    node = copy
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return copy


def numeric(annotation: Any) -> bool:
    return annotation in (int, float) or any(
        numeric(part) for part in get_args(annotation) if part is not bool
    )


def keys_of(numbers: bool) -> list[Any]:
    found = []
    for kind, written in WHOLE:
        for path, owner in leaves(kind, full(kind, written)):
            field = owner.model_fields.get(path[-1])
            if field is None:
                continue
            if numeric(field.annotation) if numbers else owner.names_path(path[-1]):
                found.append(
                    pytest.param(kind, written, path, id=f"{kind.__name__}-{'.'.join(map(str, path))}")
                )
    return found


@pytest.mark.parametrize(("kind", "written", "path"), keys_of(numbers=True))
def test_no_number_is_too_absurd_to_be_refused_by_its_key(
    kind: type[BaseModel], written: dict[str, Any], path: tuple[Any, ...]
) -> None:
    """A count below nothing and a number beyond 64 bits are refused; the message has the key and the recipe."""
    tree = full(kind, written)
    for absurd in ABSURD:
        is_allowed = absurd == -1 and path[-1] in ANY_SIZE
        if not is_allowed:
            with pytest.raises(ConfigError, match=rf"r\.toml.*{path[-1]}"):
                check(kind, with_value(tree, path, absurd), "r.toml")


def test_processes_threads_and_memory_have_a_bound() -> None:
    """A million processes would end the machine, not the command."""
    seen = set()
    for kind, written in WHOLE:
        tree = full(kind, written)
        for path, _ in leaves(kind, tree):
            if path[-1] in MOST:
                seen.add(path[-1])
                with pytest.raises(ConfigError, match=rf"{path[-1]} = 1000000: expected at most"):
                    check(kind, with_value(tree, path, 10**6), "r.toml")
    assert seen == MOST.keys()


def test_a_negative_seed_is_refused_wherever_one_stands() -> None:
    seen = 0
    for kind, written in WHOLE:
        tree = full(kind, written)
        for path, _ in leaves(kind, tree):
            if path[-1] == "seed":
                seen += 1
                with pytest.raises(
                    ConfigError, match=r"seed = -1: expected 0 or more|greater than or equal to 0"
                ):
                    check(kind, with_value(tree, path, -1), "r.toml")
    assert seen > len(WHOLE)


@pytest.mark.parametrize(("kind", "written", "path"), keys_of(numbers=False))
def test_a_path_of_nothing_is_refused_by_its_key(
    kind: type[BaseModel], written: dict[str, Any], path: tuple[Any, ...]
) -> None:
    """`--set run_dir=$OUT` without OUT would make a run of the directory that the command runs in."""
    tree = full(kind, written)
    for nothing in ("", "  "):
        with pytest.raises(
            ConfigError, match=rf"r\.toml.*{'.'.join(map(str, path))} = '{nothing}': expected a file"
        ):
            check(kind, with_value(tree, path, nothing), "r.toml")


@pytest.mark.parametrize(("kind", "written", "path"), keys_of(numbers=False))
def test_every_path_of_every_recipe_knows_home_and_variables(
    kind: type[BaseModel], written: dict[str, Any], path: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("SCRATCH", "/scratch")
    ending = ".parquet" if path[-1] == "out" else ".jsonl" if "source" in str(path[-1]) else ".py:accuracy"
    tree = full(kind, written)
    old = tree
    for part in path:
        old = old[part]
    for text, expected in (
        ("~/a", "/home/ada/a"),
        ("$SCRATCH/a", "/scratch/a"),
        ("${SCRATCH}/a", "/scratch/a"),
    ):
        value: Any = text + ending
        wanted: Any = expected + ending
        if isinstance(old, list):
            value, wanted = [value], [wanted]
        elif isinstance(old, dict):
            value, wanted = {"model": value, "text": "costs $5 ~"}, {"model": wanted, "text": "costs $5 ~"}
        changed = with_value(tree, path, value)
        if path[-1] == "source":  # what only other kinds of sources have
            node = changed
            for part in path[:-1]:
                node = node[part]
            node |= {key: empty for key, empty in (("params", {}), ("subset", None)) if key in node}
        if path[0] == "rewards" and "eval" in changed:  # names the reward that is renamed
            changed["eval"] = {key: value for key, value in changed["eval"].items() if key != "correct"}
        config = check(kind, changed, "r.toml")
        found = json.loads(dump(config))
        for part in path:
            found = found[part]
        assert found == wanted
        assert dump(check(kind, json.loads(dump(config)), "config.json")) == dump(config)


def test_what_a_graph_follows_as_a_file_is_a_path_key() -> None:
    """Both tables name the same keys: what may be a file is hashed, and is expanded."""
    for stage in STAGES.values():
        for key in stage.inputs:
            kind: Any = stage.config
            *sections, last = [part for part in key.split(".") if part != "*"]
            for part in sections:
                kind = model_in(kind.model_fields[part].annotation)
            assert issubclass(kind, Settings)
            assert kind.names_path(last), f"{stage.name}: {key}"


@pytest.mark.parametrize("text", ["runs/x", "a~b/c", "costs $5", "$", "./~/x", "a/b$"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert expand(text) == text


def test_an_unset_variable_and_an_unknown_user_are_named_with_their_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    kind, written = WHOLE[0]
    with pytest.raises(
        ConfigError, match=r"run_dir = '\$NOWHERE/x': the environment variable NOWHERE is not set"
    ):
        check(kind, {**written, "run_dir": "$NOWHERE/x"}, "r.toml")
    with pytest.raises(ConfigError, match=r"run_dir = '~nobody-here/x': ~nobody-here has no home folder"):
        check(kind, {**written, "run_dir": "~nobody-here/x"}, "r.toml")


@given(st.text(alphabet="ab/~$._-", max_size=12))
def test_expanding_twice_changes_nothing(text: str) -> None:
    os.environ.setdefault("a", "/value")
    try:
        once = expand(text)
    except ValueError:
        return
    assert expand(once) == once


def test_a_recipe_is_found_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from grpo.common.config_io import find_recipe

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.toml").write_text('stage = "rl"')
    assert find_recipe("~/mine.toml")[1] == 'stage = "rl"'
