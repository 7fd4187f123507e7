"""`grpo config diff`: what two recipes do not have in common."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grpo.cli import app
from grpo.common.errors import ConfigError
from grpo.config.rl import RlConfig
from grpo.graph.parse import load_graph
from grpo.tools.recipe_diff import ABSENT, compare

RL = """
stage = "rl"
steps = 4
run_dir = "runs/own"
rewards = [{ name = "accuracy" }, { name = "format", weight = 0.5 }]
[policy]
model = "./base"
[data]
source = "chain"
"""


def test_a_recipe_differs_from_itself_in_nothing() -> None:
    for name in ("r1-tiny", "r1-rl"):
        found = compare(name, name)
        assert (found.only_first, found.only_second, found.keys) == ({}, {}, {})
    assert "no key differs" in CliRunner().invoke(app, ["config", "diff", "r1-tiny", "r1-tiny"]).output


def test_stages_of_one_graph_alone_and_keys_of_both() -> None:
    found = compare("r1-tiny", "r1")
    tiny, full = load_graph("r1-tiny").nodes, load_graph("r1").nodes
    assert set(found.only_first) == set(tiny) - set(full)
    assert set(found.only_second) == set(full) - set(tiny)
    assert found.only_first["base"] == "pretrain"
    zero = {key: (first, second) for key, first, second in found.keys["zero"]}
    configs = [nodes["zero"].config for nodes in (tiny, full)]
    assert all(isinstance(config, RlConfig) for config in configs)
    assert zero["sampling.max_tokens"] == tuple(c.sampling.max_tokens for c in configs)
    assert zero["steps"] == tuple(c.steps for c in configs)
    assert "run_dir" not in zero  # both are {run_dir}/zero
    assert not any(first == second for first, second in zero.values())


def test_two_recipes_of_a_stage_or_a_run(tmp_path: Path) -> None:
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text(RL)
    second.write_text(RL.replace("steps = 4", "steps = 9").replace(', { name = "format", weight = 0.5 }', ""))
    (rows,) = compare(str(first), str(second)).keys.values()
    assert {key: values for key, *values in rows} == {
        "steps": [4, 9],
        "rewards.1.name": ["format", ABSENT],
    } | {key: values for key, *values in rows if key.startswith("rewards.1.")}
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"stage": "rl", "steps": 5, "policy": {"model": "./base"},
        "data": {"source": "chain"}, "rewards": [{"name": "accuracy"}], "run_dir": "runs/own"}))  # fmt: skip
    (rows,) = compare(str(second), str(run)).keys.values()
    assert {key for key, *_ in rows} == {"steps", "run_dir"}


def test_a_graph_and_a_stage_are_not_compared() -> None:
    with pytest.raises(ConfigError, match="r1 is a graph of stages and r1-rl the recipe of one stage"):
        compare("r1-rl", "r1")
    done = CliRunner().invoke(app, ["config", "diff", "r1-tyni", "r1"])
    assert "r1-tiny" in str(done.exception)
