"""Paths in a recipe are from its own folder; where a file is there twice, the user is told which one is read."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from data_recipes.errors import DataError
from data_recipes.prompts.files import find_files
from grpo.common.config_io import dump, find_recipe
from grpo.common.errors import ConfigError
from grpo.common.recipe_paths import beside, inputs_beside, is_input, recipe_file
from grpo.graph.keys import missing_inputs, node_key
from grpo.graph.parse import load_graph
from grpo.stages.registry import STAGES
from grpo.tracking.changes import find_changes
from grpo.tracking.run_dir import facts
from policies.errors import PolicyError
from policies.facts import resolve_model
from rewards.errors import RewardLoadError
from rewards.registry import load_reward

RL = """
stage = "rl"
steps = 1
run_dir = "runs/x"
[policy]
model = "base/policy"
[data]
source = "rows.jsonl"
[[mix]]
source = ["parts/*.jsonl", "more.json"]
[[rewards]]
name = "my_rewards.py:exact"
[[rewards]]
name = "format"
params = { path = "base/policy" }
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe and its inputs; commands run in another."""
    folder = tmp_path / "project"
    for name in ("base/policy/config.json", "rows.jsonl", "parts/a.jsonl", "more.json", "my_rewards.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"question": name, "answer": "1"}) + "\n")
    (folder / "mine.toml").write_text(RL)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


@pytest.mark.parametrize(
    ("written", "wrong", "meant"),
    [
        ("rows.jsonl", "row.jsonl", "../project/rows.jsonl"),
        ("base/policy", "./bases/policy", "../project/base/policy"),
        ("my_rewards.py:exact", "my_reward.py:exact", "my_rewards.py"),
    ],
)
def test_a_slip_in_a_path_is_answered_with_the_file_beside_the_recipe(
    project: Path, written: str, wrong: str, meant: str
) -> None:
    (project / "mine.toml").write_text(RL.replace(f'"{written}"', f'"{wrong}"'))
    config = STAGES["rl"].load("../project/mine.toml")
    read: dict[str, Callable[[], object]] = {
        "rows.jsonl": lambda: find_files(str(config.data.source)),
        "base/policy": lambda: resolve_model(config.policy.model),
        "my_rewards.py:exact": lambda: load_reward(config.rewards[0].name),
    }
    with pytest.raises((DataError, PolicyError, RewardLoadError), match=f"did you mean {re.escape(meant)}"):
        read[written]()


@pytest.mark.parametrize("hub", ["bases/policy", "openai/gsm8k", "Qwen/Qwen2.5-1.5B"])
def test_a_name_that_may_be_on_the_hub_stays(project: Path, hub: str) -> None:
    (project / "Qwen/Qwen2.5-7B").mkdir(parents=True)
    (project / "mine.toml").write_text(RL.replace("base/policy", hub))
    assert STAGES["rl"].load("../project/mine.toml").policy.model == hub


def test_inputs_are_found_beside_the_recipe(project: Path) -> None:
    config = STAGES["rl"].load("../project/mine.toml")
    assert config.policy.model == "../project/base/policy"
    assert config.data.source == "../project/rows.jsonl"
    assert config.mix[0].source == ("../project/parts/*.jsonl", "../project/more.json")
    assert [reward.name for reward in config.rewards] == ["../project/my_rewards.py:exact", "format"]
    assert config.run_dir == Path("runs/x"), "outputs are from the directory that the command runs in"


def test_a_run_goes_on_from_wherever_its_folder_is_given(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    began = STAGES["rl"].load("mine.toml")
    run = project / "runs/x"
    run.mkdir(parents=True)
    (run / "config.json").write_text(dump(began))
    (run / "manifest.json").write_text(json.dumps(facts(began, 0, {}, None)))
    assert STAGES["rl"].load("runs/x") == began, "as it is written, where it was started"
    monkeypatch.chdir(project.parent / "elsewhere")
    config = STAGES["rl"].load("../project/runs/x")
    assert config.policy.model == str(project / "base/policy")
    assert config.data.source == str(project / "rows.jsonl")
    assert config.mix[0].source == (str(project / "parts/*.jsonl"), str(project / "more.json"))
    assert [reward.name for reward in config.rewards] == [f"{project}/my_rewards.py:exact", "format"]
    assert config.rewards[1].params == {"path": f"{project}/base/policy"}
    assert config.run_dir == Path("../project/runs/x")
    assert [change.key for change in find_changes(run, config) if not change.is_content] == []
    again = STAGES["rl"].load(str(run), ["data.source=rows.jsonl"])
    assert again.data.source == "rows.jsonl", "what the command sets is from where the command runs"
    moved = project.parent / "moved"
    project.rename(moved)  # the folder in which it was started is gone
    monkeypatch.chdir(moved)
    assert STAGES["rl"].load("runs/x").data.source == "rows.jsonl"


def test_a_set_is_from_the_directory_of_the_command(project: Path) -> None:
    config = STAGES["rl"].load(str(project / "mine.toml"), ["data.source=rows.jsonl"])
    assert config.data.source == "rows.jsonl"


def test_inputs_of_the_working_directory_still_work(project: Path) -> None:
    (project / "rows.jsonl").rename("rows.jsonl")
    assert STAGES["rl"].load(str(project / "mine.toml")).data.source == "rows.jsonl"


def test_two_files_of_one_name_are_a_warning_that_names_both(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path("rows.jsonl").write_text("")
    assert STAGES["rl"].load(str(project / "mine.toml")).data.source == str(project / "rows.jsonl")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"data.source = 'rows.jsonl' is there twice: {project / 'rows.jsonl'}" in record.getMessage()
    assert str(Path.cwd() / "rows.jsonl") in record.getMessage()


def test_no_warning_where_both_are_the_same_file(
    project: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert STAGES["rl"].load("mine.toml").data.source == "rows.jsonl"
    assert STAGES["rl"].load(str(project / "mine.toml")).data.source == "rows.jsonl"
    assert not caplog.records


@pytest.mark.parametrize(
    "value", ["chain", "accuracy", "package.module:function", "/rows.jsonl", "~/rows.jsonl", "{a.rows}", ""]
)
def test_names_that_are_no_paths_stay(project: Path, value: str) -> None:
    for name in ("chain", "accuracy"):
        (project / name).mkdir()
    assert beside(value, project / "mine.toml", "data.source") == value


def test_a_folder_keeps_its_slash_and_items_of_lists_are_inputs(project: Path) -> None:
    assert beside("parts/", project / "mine.toml", "data.source") == f"{project}/parts/"
    assert is_input("data.source.0", ["data.source"])
    assert is_input("mix.3.source.12", ["mix.*.source"])
    assert not is_input("data.sources", ["data.source"])


def test_a_resolved_config_and_a_shipped_recipe_stay(project: Path) -> None:
    tree = {"data": {"source": "rows.jsonl"}}
    inputs_beside(tree, ["data.source"], project / "config.json")
    inputs_beside(tree, ["data.source"], recipe_file("r1-zero-tiny"))
    assert tree["data"]["source"] == "rows.jsonl"


def test_a_graph_finds_recipes_and_inputs_beside_it(project: Path) -> None:
    (project / "graph.toml").write_text(
        '[graph]\nrun_dir = "runs/g"\n[stages.one]\ncommand = "rl"\nrecipe = "mine.toml"\n'
        '[stages.one.set]\n"data.source" = "parts/a.jsonl"\n'
    )
    node = load_graph(str(project / "graph.toml")).nodes["one"]
    assert node.config.data.source == str(project / "parts/a.jsonl")  # type: ignore[attr-defined]
    assert missing_inputs(node) == []
    key = node_key(node, {})
    (project / "parts/b.jsonl").write_text("{}\n")
    assert node_key(load_graph(str(project / "graph.toml")).nodes["one"], {}) != key, (
        "a new file of the pattern"
    )
    (project / "more.json").unlink()
    (error,) = missing_inputs(load_graph(str(project / "graph.toml")).nodes["one"])
    assert "mix.0.source.1 = 'more.json': no such file" in error


def test_did_you_mean_for_recipes_and_policies(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    for asked, meant in (
        ("mine.tmol", "mine.toml"),
        ("r1-zero-tinny", "r1-zero-tiny"),
        ("mine", "mine.toml"),
    ):
        with pytest.raises(ConfigError, match=rf"no recipe '{asked}' \(did you mean {meant}\?\)"):
            find_recipe(asked)
    with pytest.raises(PolicyError, match=r"no such folder \(did you mean .*/base/policy\?\)"):
        resolve_model(str(project / "base/polcy"))
