"""What README, docs/ and the recipes' comments say can be typed: commands, options, keys, files, links, code."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from grpo.cli import app
from grpo.common.config_io import RENAMED_KEYS, find_recipe, shipped_recipes
from grpo.common.key_hints import fields_at
from grpo.config.data_build import DataBuildConfig
from grpo.graph.config import GraphRecipe
from grpo.graph.parse import load_graph
from grpo.stages.registry import STAGES

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "benchmarks/README.md",
    ROOT / "rewards/README.md",
]
RECIPES = sorted((ROOT / "data_recipes/recipes").glob("*.toml"))
CLASSES = {name: stage.config for name, stage in STAGES.items()}
FREE = {
    "most",
    "params",
    "constants",
    "columns",
    "advantage_params",
    "policy_loss_params",
    "kl_estimator_params",
}
"""Sections whose keys are whatever the user calls them."""
ENDINGS = {"py", "parquet", "jsonl", "json", "toml"}
PACKAGES = (
    "examples",
    "policies",
    "rollout",
    "rewards",
    "data_recipes",
    "grpo",
    "tests",
    "benchmarks",
    "docs",
    "scripts",
)


def commands(text: str) -> Iterator[list[str]]:
    """Words of every `grpo …` in a text: inline code, and lines of code blocks up to the words that explain them."""
    fences = re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    blocks = [line for fence in fences for line in fence.splitlines()]
    blocks += [line for line in prose.splitlines() if line.startswith("    ")]
    lines = [re.split(r" {2,}|#|→", line.strip().removeprefix("$ "))[0] for line in blocks]
    lines += [code.replace("[", "").replace("]", "") for code in re.findall(r"`([^`\n]+)`", prose)]
    for line in lines:
        if line.startswith("grpo "):
            yield shlex.split(line)[1:]


def keys(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key path of a TOML tree, lists of tables looked into, free sections not."""
    for key, value in tree.items():
        yield (*path, key)
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict) and key not in FREE:
                yield from keys(inner, (*path, key))


def is_key(kind: Any, path: Sequence[str]) -> bool:
    named = [part for part in path if not part.isdecimal()]
    cut = next((i + 1 for i, part in enumerate(named) if part in FREE), len(named))
    return named[cut - 1] in fields_at(kind, named[: cut - 1])


def problems(words: list[str]) -> Iterator[str]:
    """What of a command line does not exist."""
    command: Any = get_command(app)
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    if hasattr(command, "commands"):
        if words and words[0].isalpha():
            yield f"no command {words[0]}"
        return
    words = words[: words.index("--")] if "--" in words else words  # what follows is another program's
    options = {name for parameter in command.params for name in parameter.opts} | {"-h", "--help"}
    yield from (f"{command.name} has no {w}" for w in words if w.startswith("-") and w not in options)
    if not words or "recipe" not in {parameter.name for parameter in command.params}:
        return
    recipe, kind = words[0], CLASSES.get(command.name)
    if recipe in shipped_recipes():
        stage = tomllib.loads(find_recipe(recipe)[1]).get("stage", "graph")
        wanted = {"run": ["graph"], "plan": ["graph"], "eval": ["eval", "rl"]}.get(
            command.name, [command.name]
        )
        if command.name != "submit" and stage not in wanted:
            yield f"{recipe} is a recipe of {stage}, not of {command.name}"
        kind = kind or CLASSES.get(stage)
    elif re.fullmatch(r"[a-z0-9][a-z0-9-]*", recipe):
        yield f"no recipe {recipe}"
    for flag, pair in pairwise(words):
        path = pair.partition("=")[0].split(".")
        if flag != "--set" or "…" in path[0]:
            continue
        if command.name in ("run", "plan") and path[0] != "graph" and recipe in shipped_recipes():
            node = load_graph(recipe).nodes.get(path[0])
            if node is None or not is_key(type(node.config), path[1:]):
                yield f"{recipe} has no {'.'.join(path)}"
        elif kind is not None and not is_key(kind, path):
            yield f"{command.name} has no key {'.'.join(path)}"


@pytest.mark.parametrize("page", [*PAGES, *RECIPES], ids=lambda p: p.name)
def test_every_command_line_exists(page: Path) -> None:
    lines = list(commands(page.read_text(encoding="utf-8")))
    assert [(" ".join(words), problem) for words in lines for problem in problems(words)] == []


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        found
        for page in PAGES
        for found in re.findall(r"(?:^|`)make ([a-z][\w-]*)", page.read_text(), re.MULTILINE)
    }
    assert {"demo", "install", "test"} <= named <= targets


def test_every_example_of_the_help_exists() -> None:
    def epilogs(command: Any) -> Iterator[str]:
        yield " ".join((command.epilog or "", command.help or ""))
        for inner in getattr(command, "commands", {}).values():
            yield from epilogs(inner)

    lines = [words for text in epilogs(get_command(app)) for words in commands(text)]
    assert len(lines) > 20
    assert [(" ".join(words), problem) for words in lines for problem in problems(words)] == []


def test_command_lines_are_seen() -> None:
    lines = [words for page in PAGES for words in commands(page.read_text(encoding="utf-8"))]
    assert len(lines) > 50
    assert ["rl", "my-recipe.toml", "--address", "auto"] in lines  # of a block, with words that explain it
    assert [
        "reward",
        "try",
        "NAME",
        "--data",
        "cases.jsonl",
        "--timeout",
        "S",
        "--param",
        "k=v",
        "--json",
        "--strict",
    ] in lines


@pytest.mark.parametrize(
    "line",
    [
        "rll",
        "rl r1-zero-tiny --steps 3",
        "rl r1-zero",
        "sft r1-zero-tiny",
        "rl r1-tiny-rl --set optimiser.lr=1",
        "run r1-tiny --set dev9.steps=1",
    ],
)
def test_a_wrong_command_line_is_found(line: str) -> None:
    assert len(list(problems(shlex.split(line)))) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_block_of_code_is_valid(page: Path, tmp_path: Path) -> None:
    """Python compiles; the keys of a TOML block are those of one stage; a graph loads."""
    for language, body in re.findall(
        r"^```(python|toml)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
    ):
        if language == "python":
            compile(body, str(page), "exec")
            continue
        tree = tomllib.loads(body)
        if "project" in tree:  # a pyproject.toml
            continue
        if "stages" in tree:
            (tmp_path / "graph.toml").write_text(body)
            load_graph(str(tmp_path / "graph.toml"))
            continue
        classes = (
            [CLASSES[tree["stage"]]] if "stage" in tree else [*CLASSES.values(), GraphRecipe, DataBuildConfig]
        )
        unknown = [[path for path in keys(tree) if not is_key(kind, path)] for kind in classes]
        assert min(unknown, key=len) == [], body


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_and_named_key_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)", text)
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
    sections = {name for kind in CLASSES.values() for name in kind.model_fields}
    named = [word.split(".") for word in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", text)]
    dotted = [path for path in named if path[0] in sections and path[-1] not in ENDINGS]
    dotted = [path for path in dotted if ".".join(path) not in RENAMED_KEYS]  # the changelog has old names
    assert [path for path in dotted if not any(is_key(kind, path) for kind in CLASSES.values())] == []


def test_the_readme_is_short_before_its_reference_part() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines.index("## Reference") <= 150


def test_every_file_that_a_text_or_a_comment_names_exists() -> None:
    name = re.compile(rf"(?<![\w/.-])(?:{'|'.join(PACKAGES)})/[\w/-]+\.(?:py|md|toml|j2)\b")
    sources = [path for package in PACKAGES[:5] for path in (ROOT / package).rglob("*.py")]
    missing = {
        (path.relative_to(ROOT).as_posix(), found)
        for path in [*PAGES, *RECIPES, *sources]
        for found in name.findall(path.read_text(encoding="utf-8"))
        if not (ROOT / found).exists()
    }
    assert missing == set()
