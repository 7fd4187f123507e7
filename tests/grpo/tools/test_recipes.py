"""`grpo recipes`: a commented recipe is the same recipe, and so is one with every default uncommented."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo.common.config_io import check, find_recipe, shipped_recipes
from grpo.common.errors import ConfigError
from grpo.config.key_docs import sections_of, text_of
from grpo.config.rl import RlConfig
from grpo.graph.config import GraphRecipe
from grpo.graph.parse import load_graph
from grpo.stages.registry import STAGES
from grpo.tools.keys import recipes_of
from grpo.tools.recipes import commented, copy, overview, statements
from policies.json_types import JsonDict

REQUIRED = """
[policy]
model = "m"
[data]
source = "chain"
[[rewards]]
name = "accuracy"
"""
OPTIONAL = [
    section
    for section in sections_of(RlConfig)
    if section.shape == "one"
    and len(section.path) == 1
    and not section.is_required
    and all(
        key.default_text is not None for key in section.keys
    )  # a section with a required key is not empty
]


def uncommented(text: str) -> str:
    return re.sub(r"(?m)^#(?=\[|\S+ = )", "", text)


def config_of(text: str) -> object:
    tree: JsonDict = tomllib.loads(text)
    return check(recipes_of(tree.get("stage", "run")), tree, "x.toml", text)


@pytest.mark.parametrize("recipe", shipped_recipes())
def test_a_shipped_recipe_keeps_its_meaning(recipe: str) -> None:
    _, text = find_recipe(recipe)
    result = commented(recipe)
    assert tomllib.loads(result) == tomllib.loads(text)
    assert config_of(uncommented(result)) == config_of(text)


@pytest.mark.parametrize("recipe", shipped_recipes())
def test_a_shipped_recipe_shows_every_key_with_its_text(recipe: str, tmp_path: Path) -> None:
    tree = tomllib.loads(find_recipe(recipe)[1])
    result = commented(recipe)
    prose = " ".join(line.removeprefix("# ") for line in result.splitlines() if line.startswith("# "))
    for section in sections_of(recipes_of(tree.get("stage", "run"))):
        hidden = section.is_optional or "*" in section.path
        assert section.path == () or section.name in result
        for key in section.keys:
            if not hidden:
                assert re.search(rf"(?m)^#?\s*\[?{key.name}( =|[.\]])", result), key.name
                assert text_of(section.config, key.name) in prose


@pytest.mark.parametrize("recipe", ["r1", "r1-tiny", "distill"])
def test_a_graph_explains_the_keys_that_it_sets_of_a_stage(recipe: str, tmp_path: Path) -> None:
    out = tmp_path / f"{recipe}.toml"
    copy(recipe, out)
    assert load_graph(str(out)).nodes == load_graph(recipe).nodes
    above = {}
    lines = out.read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        above.setdefault(line.partition(" =")[0], before)
    assert above['"policy.model"'].startswith("# ")


@st.composite
def recipes(draw: st.DrawFn) -> str:
    """An RL recipe with any of the keys at their defaults, in any of TOML's ways to write a table."""
    top = ['stage = "rl"', "steps = 1", 'run_dir = """\nx\n\n\n"""']
    tables = []
    for section in draw(st.permutations(OPTIONAL)):
        keys = [key for key in section.keys if key.default_text is not None]
        chosen = draw(st.lists(st.sampled_from(keys), unique=True, max_size=4))
        style = draw(st.sampled_from(["header", "dotted", "inline", "quoted"]))
        values = [f"{key.name} = {key.default_text}" for key in chosen]
        if style == "dotted":
            top += [f"{section.name} . {value}  # own" for value in values]
        elif style == "inline" and chosen:
            top.append(f"{section.name} = {{ {', '.join(values)} }}")
        elif style == "quoted":
            tables += [
                f'[ "{section.name}" ] # own',
                *(f"'{v.replace(' =', chr(39) + ' =', 1)}" for v in values),
            ]
        elif chosen:
            tables += [f"[{section.name}]", *values]
    if draw(st.booleans()) and "sampling = {" not in "\n".join(top):
        tables += ["[[sampling.max_tokens_schedule]]", "from_step = 3", "value = 5"]
    return "\n".join([*top, *tables]) + REQUIRED


@settings(max_examples=60, deadline=None)
@given(text=recipes())
def test_any_way_to_write_a_table_keeps_its_meaning(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("recipe") / "own.toml"
    path.write_text(text, encoding="utf-8")
    result = commented(str(path))
    assert tomllib.loads(result) == tomllib.loads(text)
    assert config_of(uncommented(result)) == config_of(text)
    assert "\n".join(found.text for found in statements(text)) == text


def test_false_is_none_in_a_section_under_a_name_too() -> None:
    tree = {"graph": {"run_dir": "x"}, "stages": {"a": {"command": "rl", "plan": {"tokens": False}}}}
    assert check(GraphRecipe, tree, "x.toml").stages["a"].plan.tokens is None


def test_a_value_of_several_lines_is_one_statement() -> None:
    text = 'a = [\n  1, # one\n  "]",\n]\nb = """\n# no comment\n[x]\n"""\n\n"c = d".e = 1\n'
    found = list(statements(text))
    assert [s.key for s in found if s.key] == [("a",), ("b",), ("c = d", "e")]
    assert "\n".join(s.text for s in found) == text


def test_the_list_names_command_and_purpose() -> None:
    lines = list(overview())
    assert [line.split()[0] for line in lines] == shipped_recipes()
    assert any(line.startswith("r1-tiny ") and " grpo run " in line for line in lines)
    assert any(line.startswith("r1-zero-tiny ") and " grpo rl " in line for line in lines)


def test_a_copy_never_overwrites(tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    copy("r1-zero-tiny", out)
    before = out.read_text()
    assert STAGES["rl"].load(str(out)) == STAGES["rl"].load("r1-zero-tiny")
    with pytest.raises(ConfigError, match="is there already"):
        copy("tiny-base", out)
    assert out.read_text() == before


def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("steps = 3\n")
    with pytest.raises(ConfigError, match=r"x\.toml: not a recipe of a stage: add stage"):
        commented(str(path))
