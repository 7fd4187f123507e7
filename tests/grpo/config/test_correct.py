"""`eval.correct` is one of the rewards, the only one if there is one; found when the recipe is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpo.common.config_io import dump
from grpo.common.errors import ConfigError
from grpo.stages.registry import STAGES

RECIPE = """
run_dir = "out"
policy = { model = "m" }
[eval.data]
source = "chain"
split = "held-out"
"""
RL = 'stage = "rl"\nsteps = 1\ndata = { source = "chain" }\n'


@pytest.fixture(params=["rl", "eval"])
def stage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def write(folder: Path, stage: str, *rewards: str) -> str:
    path = folder / "own.toml"
    head = RL if stage == "rl" else 'stage = "eval"\n'
    path.write_text(head + RECIPE + "".join(f'[[rewards]]\nname = "{name}"\n' for name in rewards))
    return str(path)


@pytest.mark.parametrize(
    ("reward", "label"), [("code", "code"), ("a/b.py:exact", "exact"), ("accuracy", "accuracy")]
)
def test_the_only_reward_decides(stage: str, reward: str, label: str, tmp_path: Path) -> None:
    config = STAGES[stage].load(write(tmp_path, stage, reward))
    assert config.eval.correct == label
    assert type(config).model_validate_json(dump(config), strict=True) == config


def test_a_recipe_that_says_it_is_believed(stage: str, tmp_path: Path) -> None:
    recipe = write(tmp_path, stage, "code", "format")
    assert STAGES[stage].load(recipe, ['eval.correct="format"']).eval.correct == "format"


@pytest.mark.parametrize(
    ("rewards", "more", "found"),
    [
        (("code", "format"), [], "'accuracy' is none of the rewards: code, format"),
        (("code",), ['eval.correct="exact"'], "'exact' is none of the rewards: code"),
    ],
)
def test_a_name_of_no_reward_is_refused_when_the_recipe_is_read(
    stage: str, rewards: tuple[str, ...], more: list[str], found: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"own\.toml: eval\.correct = {found}"):
        STAGES[stage].load(write(tmp_path, stage, *rewards), more)


def test_without_questions_nothing_decides(tmp_path: Path) -> None:
    recipe = write(tmp_path, "rl", "code", "format")
    assert STAGES["rl"].load(recipe, ["eval.data=false"]).eval.correct == "accuracy"
