"""`grpo demo`: the recipe that a preset gets, and where its runs go."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from grpo.cli import app
from grpo.tools.demo import TASKS, base_config, default_folder
from policies.families.registry import PRESETS
from policies.presets import tiny_config

RUN = ["run_dir=x"]
BASES = sorted({task.base for task in TASKS.values()})


@pytest.mark.parametrize("recipe", BASES)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_keeps_its_rotation_at_the_recipes_base(recipe: str, preset: str) -> None:
    config = base_config(recipe, preset, RUN)
    made = tiny_config(preset, 64, **config.preset_overrides).rope_parameters
    own = tiny_config(preset, 64).rope_parameters
    assert made == own | {"rope_theta": 100.0}
    assert (config.preset, config.lr) == (preset, 2e-3 if preset == "tiny-v3" else 1e-3)


def test_the_recipes_own_preset_changes_nothing() -> None:
    assert base_config("tiny-base", "tiny-v3", RUN).preset_overrides == {
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0}
    }


def test_folders() -> None:
    assert default_folder("chain", "tiny-v3") == Path("runs/demo")
    assert default_folder("code", "tiny-v3") == Path("runs/demo-code")
    assert default_folder("chain", "mini-v3") == Path("runs/demo-mini-v3")
    assert default_folder("code", "mini-v2") == Path("runs/demo-code-mini-v2")


@pytest.mark.parametrize(("option", "known"), [("--task", "chain, code"), ("--preset", "tiny-v3")])
def test_an_unknown_name_is_answered_with_those_there_are(option: str, known: str) -> None:
    result = CliRunner().invoke(app, ["demo", option, "other"])
    assert result.exit_code == 2
    assert known in result.output
