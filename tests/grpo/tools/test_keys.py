"""`grpo keys` and its JSON Schema against the config classes and the shipped recipes."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import jsonschema
import pytest
from pydantic import Field

from grpo.common.config_io import check, find_recipe, shipped_recipes
from grpo.common.errors import ConfigError
from grpo.config.key_docs import key_doc, literal, sections_of, source_of, text_of
from grpo.config.kinds import keys_of
from grpo.config.rl import RlConfig
from grpo.config.sft import SftOptimizer
from grpo.graph.config import GraphRecipe
from grpo.stages.registry import STAGES
from grpo.tools.key_schema import schema_of
from grpo.tools.keys import entries, find, lines
from policies.json_types import JsonDict
from policies.settings import Identity, KeyKind, Settings
from tests.grpo.config.test_kinds import config_classes

ROOT = Path(__file__).resolve().parents[3]
ROOTS = [*(stage.config for stage in STAGES.values()), GraphRecipe]


class Inner(Settings):
    """A part. Second sentence.

    Another paragraph.
    """

    bare: Identity[int] = 1


class Outer(Settings):
    part: Inner = Inner()
    switch: Identity[bool | None] = None
    """Open, on
    or off."""
    names: Identity[dict[str, tuple[int, ...]]] = Field(default_factory=dict)
    """Lists by name."""


class Derived(Outer):
    switch: Identity[bool | None] = True


def test_every_key_of_every_config_class_has_a_text() -> None:
    without = [
        f"{config.__module__}.{config.__name__}.{name}"
        for config in config_classes()
        for name in config.model_fields
        if not text_of(config, name)
    ]
    assert without == []


def test_a_key_without_a_text_is_found() -> None:
    assert text_of(Inner, "bare") == ""
    assert text_of(Outer, "part") == "A part. Second sentence."
    assert text_of(Derived, "switch") == "Open, on or off."


def test_the_source_is_the_line_of_the_class_that_wrote_the_key_last() -> None:
    for config, name in ((SftOptimizer, "lr"), (SftOptimizer, "beta1"), (RlConfig, "steps")):
        file, _, line = source_of(config, name).partition(":")
        written = (ROOT / file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
        assert written.startswith(f"    {name}: ")
    assert source_of(SftOptimizer, "lr").startswith("grpo/config/sft.py:")
    assert source_of(SftOptimizer, "beta1").startswith("grpo/config/sections.py:")


def test_types_and_defaults_read_as_toml() -> None:
    switch = key_doc(Outer, "switch")
    assert (switch.type, switch.default_text, key_doc(Derived, "switch").default_text) == (
        "true or false",
        None,
        "true",
    )
    assert key_doc(Outer, "names").type == "table of list of integer"
    epochs = key_doc(RlConfig, "token_budget")
    assert (epochs.type, epochs.default_text, epochs.kind) == (
        "integer ≥ 1, or false",
        "false",
        KeyKind.OPERATIONAL,
    )
    assert key_doc(RlConfig, "steps").default_text is None


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.__name__)
def test_every_default_that_is_shown_is_read_as_the_same_value(root: type[Settings]) -> None:
    for section in sections_of(root):
        for key in section.keys:
            if key.default_text is not None:
                assert tomllib.loads(f"x = {key.default_text}")["x"] == (
                    False if key.default is None else key.default
                )


@pytest.mark.parametrize("value", ['a\x7f"\\\n', {"a b": [1, {"c": None}]}, 1e-8, True, ["…"], -3])
def test_a_literal_is_toml(value: object) -> None:
    expected = {"a b": [1, {"c": False}]} if isinstance(value, dict) else value
    assert tomllib.loads(f"x = {literal(value)}")["x"] == expected


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.__name__)
def test_the_sections_hold_every_key_once(root: type[Settings]) -> None:
    listed = [".".join((*section.path, key.name)) for section in sections_of(root) for key in section.keys]
    assert sorted(listed) == sorted(key.path for key in keys_of(root))


def test_the_listing_has_every_key_with_type_default_kind_and_line() -> None:
    words = [line.split() for line in lines(find(None, entries()), None)]
    rows = {(line[0], *line[-2:]) for line in words if len(line) > 3}
    for root in ROOTS:
        for key in keys_of(root):
            assert (key.name, key.kind, source_of(key.section, key.name)) in rows


@pytest.mark.parametrize(
    ("wanted", "keys", "headers"),
    [
        ("rl.optimizer", {"lr", "beta1"}, {"[optimizer]"}),
        ("optimizer.lr", {"lr"}, {"[optimizer]"}),
        ("[eval.data]", {"source", "template"}, {"[eval.data]"}),
        ("policy", {"model", "rank"}, {"[policy]", "[policy.lora]"}),
        ("stages.gate", {"metric"}, {"[stages.NAME.gate]"}),
        ("algorithm.kl_coef", {"kl_coef"}, {"[algorithm]"}),
    ],
)
def test_a_name_finds_stages_sections_and_keys(wanted: str, keys: set[str], headers: set[str]) -> None:
    found = find(wanted, entries())
    assert keys <= {key.name for _, shown in found for key in shown}
    assert headers == {
        place.header for entry, _ in found for place in entry.places if place.path[-1:] != ("params",)
    }


def test_a_stage_has_all_its_sections() -> None:
    found = find("rl", entries())
    shown = {section.config for entry, _ in found for section in [entry.section]}
    assert {section.config for section in sections_of(RlConfig)} <= shown
    assert {place.command for entry, _ in found for place in entry.places} == {"rl"}


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"no stage, section or key 'optimzer' \(did you mean optimizer\?\)"
    ):
        find("optimzer", entries())
    with pytest.raises(ConfigError, match=r"'num_generations' \(algorithm\.group_size here\)"):
        find("num_generations", entries())
    with pytest.raises(ConfigError, match=r"no stage 'rll'.*did you mean rl"):
        schema_of("rll")


def test_a_text_is_wrapped_on_a_terminal_and_whole_in_a_file() -> None:
    found = find("policy.compute_dtype", entries())
    assert max(len(line) for line in lines(found, 70) if line.startswith("      ")) <= 70
    assert any("for it to be faster." in line and "Type of" in line for line in lines(found, None))


def tree_of(recipe: str) -> JsonDict:
    return tomllib.loads(find_recipe(recipe)[1])


@cache
def validator(command: str | None) -> jsonschema.Draft202012Validator:
    schema = schema_of(command)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("recipe", shipped_recipes())
def test_every_shipped_recipe_satisfies_its_schemas(recipe: str) -> None:
    tree = tree_of(recipe)
    for command in (tree.get("stage", "run"), None):
        validator(command).validate(tree)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("optimzer",), {}),
        (("optimizer", "lr"), "fast"),
        (("optimizer", "lr"), 0),
        (("algorithm", "group_size"), 1),
        (("learner", "threads"), 0),
        (("rewards",), [{"weight": 1.0}]),
        (("rewards",), []),
        (("checkpoint", "keep"), 1.5),
        (("learner", "recompute"), "yes"),
        (("eval", "data", "template"), "r1"),
    ],
    ids=str,
)
def test_a_broken_recipe_fails_in_the_editor_as_in_the_command(path: tuple[str, ...], value: object) -> None:
    tree = tree_of("r1-zero-tiny")
    node = tree
    for part in path[:-1]:
        node = node.setdefault(part, {})
    node[path[-1]] = value
    with pytest.raises(ConfigError):
        check(RlConfig, tree, "x.toml")
    for command in ("rl", None):
        assert not validator(command).is_valid(tree)


def test_false_stands_for_none_in_the_schema_and_nothing_else_does() -> None:
    tree = tree_of("r1-zero-tiny")
    tree["learner"] = {**tree.get("learner", {}), "threads": False}
    validator("rl").validate(tree)
    check(RlConfig, tree, "x.toml")
    tree["checkpoint"] = {"keep": False}
    assert not validator("rl").is_valid(tree)


def properties(node: object) -> list[tuple[str, JsonDict]]:
    if isinstance(node, list):
        return [found for inner in node for found in properties(inner)]
    if not isinstance(node, dict):
        return []
    own = list(node["properties"].items()) if isinstance(node.get("properties"), dict) else []
    return own + [found for inner in node.values() for found in properties(inner)]


@pytest.mark.parametrize("command", [*STAGES, "run"])
def test_every_key_of_a_schema_has_a_text(command: str) -> None:
    found = properties(schema_of(command))
    assert len(found) > 3
    assert [name for name, node in found if not node.get("description")] == []
