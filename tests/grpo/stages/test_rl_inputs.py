"""What `grpo rl` and `grpo eval` refuse before an actor starts: rewards and data that do not fit each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grpo.common.config_io import load_config
from grpo.config.rl import RlConfig
from grpo.stages.rl import read_inputs
from rewards.errors import RewardLoadError
from tests.tiny import make_base, write_recipe


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def test_a_column_that_a_reward_needs_is_missed_before_launch(base: Path, tmp_path: Path) -> None:
    (tmp_path / "r.py").write_text(
        "def r(completions, solution, **_):\n    return [0.0] * len(completions)\n"
    )
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"question": "7 * 4", "answer": "28", "solutions": "28"}) + "\n")
    recipe = str(write_recipe(tmp_path, base, tmp_path / "run"))
    reward = f"rewards.1.name={tmp_path / 'r.py'}:r"
    source = [f"data.source={data}", "data.params={}", reward]
    with pytest.raises(
        RewardLoadError, match=r"r\.py:r' needs the column 'solution', which rows\.jsonl lacks"
    ):
        read_inputs(load_config(RlConfig, recipe, source))
    renamed = [*source, "data.columns={solution = 'solutions'}", "eval.data=false"]
    assert read_inputs(load_config(RlConfig, recipe, renamed)).prompts[0].columns["solution"] == "28"
    with pytest.raises(RewardLoadError, match=r"'accuracy' needs a reference answer.*answer_field"):
        read_inputs(load_config(RlConfig, recipe, [*renamed, "data.answer_field=false"]))
