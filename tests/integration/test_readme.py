"""The recipe and the reward that README.md prints train as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from grpo.cli import app
from grpo.stages.registry import STAGES
from tests.test_docs import ROOT
from tests.tiny import command, environment, make_base


def block(language: str, first: str) -> str:
    """The block of code whose first line is a comment with this file's name."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(rf"```{language}\n(# {re.escape(first)}\n.*?)```", text, re.DOTALL)
    assert len(found) == 1
    return str(found[0])


@pytest.fixture
def printed(tmp_path: Path) -> Path:
    """What the README prints, and an untrained base in place of the demo's."""
    base = make_base(tmp_path)
    (tmp_path / "runs/demo-base").mkdir(parents=True)
    base.rename(tmp_path / "runs/demo-base/policy")
    (tmp_path / "my-recipe.toml").write_text(block("toml", "my-recipe.toml"))
    (tmp_path / "my_reward.py").write_text(block("python", "my_reward.py"))
    return tmp_path


def test_the_printed_recipe_passes_every_check_with_the_printed_reward(
    printed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(printed)
    app(["rl", "my-recipe.toml", "--dry-run"], standalone_mode=False)
    assert "brevity" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.ray
def test_the_printed_recipe_trains_with_the_printed_reward(printed: Path) -> None:
    """For two steps of the twenty."""
    tmp_path = printed
    done = subprocess.run(
        command("rl", "my-recipe.toml", "--set", "steps=2"),
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = [json.loads(line) for line in (tmp_path / "runs/mine/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert all(0 <= row["reward/brevity"] <= 1 and "reward/accuracy" in row for row in rows)
    assert (tmp_path / "runs/mine/policy/config.json").exists()


def test_the_printed_recipe_can_be_evaluated_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my-recipe.toml").write_text(block("toml", "my-recipe.toml"))
    (line,) = re.findall(
        r"^grpo (eval my-recipe.*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    options = dict(zip(line.split()[2::2], line.split()[3::2], strict=True))
    monkeypatch.chdir(tmp_path)
    sets = [f"policy.model={options['--model']}", f"run_dir={options['--out']}"]
    config = STAGES["eval"].load("my-recipe.toml", sets)
    assert config.eval.data.source == "chain"
