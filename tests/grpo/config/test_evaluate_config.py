"""`grpo eval` reads its own recipes, and RL recipes without what only training reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpo.common.errors import ConfigError
from grpo.stages.registry import STAGES

OWN = """
stage = "eval"
run_dir = "out"
policy = { model = "m" }
rewards = [{ name = "accuracy" }]
"""


def test_an_rl_recipe_gives_its_evaluation(tmp_path: Path) -> None:
    config = STAGES["eval"].load("r1-zero-tiny", ['run_dir="out"', "eval.samples=3"])
    assert (config.stage, str(config.run_dir), config.eval.samples) == ("eval", "out", 3)
    assert config.eval.data is not None
    assert config.eval.data.split == "held-out"
    assert [r.name for r in config.rewards] == ["accuracy", "format"]


def test_without_data_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN + "eval = { samples = 2 }\n")
    with pytest.raises(ConfigError, match=r"needs data: add a section \[eval.data\]"):
        STAGES["eval"].load(str(path), [])


def test_a_key_of_training_is_unknown_in_its_own_recipe(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN + 'steps = 3\neval = { data = { source = "chain" } }\n')
    with pytest.raises(ConfigError, match="unknown key steps"):
        STAGES["eval"].load(str(path), [])


def test_what_only_training_reads_of_an_rl_recipe_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rl.toml"
    path.write_text(
        """
stage = "rl"
steps = 2
run_dir = "training"
policy = { model = "m", lora = { rank = 4 } }
router = { bias_rate = 0.0 }
data = { source = "chain" }
rewards = [{ name = "accuracy" }, { name = "format", start_step = 1 }]
eval = { every_steps = 1, data = { source = "chain", split = "held-out" } }
"""
    )
    config = STAGES["eval"].load(str(path), ['run_dir="out"'])
    assert config.policy.lora is None
    assert [r.start_step for r in config.rewards] == [0, 0]
    assert config.eval.every_steps == 0
    with pytest.raises(ConfigError, match=r"rl\.toml: where to\? Add --out FOLDER"):
        STAGES["eval"].load(str(path), [])


@pytest.mark.parametrize(
    "change",
    ["policy.lora.rank=4", "rewards.0.start_step=1", "eval.every_steps=1"],
)
def test_what_only_training_reads_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN + 'eval = { data = { source = "chain" } }\n')
    STAGES["eval"].load(str(path), [])
    with pytest.raises(ConfigError, match=r"in training only|no steps here"):
        STAGES["eval"].load(str(path), [change])
