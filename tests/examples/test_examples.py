"""Each script of examples/ runs and prints what its docstring says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import environment, make_base

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
MAX_LINES = 60


def run_example(name: str, *arguments: str) -> list[str]:
    """The lines that examples/`name`.py prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.splitlines()


def test_custom_reward_counts_beside_the_built_in_one() -> None:
    lines = run_example("custom_reward")
    assert [re.match(r"ok total ([\d.]+) ", line)[1] for line in lines] == ["1.5", "1.0", "0.5"]  # type: ignore[index]
    assert "'short_enough': 0.0" in lines[1]


def test_custom_dataset_draws_every_row_once_an_epoch_with_its_columns() -> None:
    lines = run_example("custom_dataset")
    epochs = [[line.partition(": ")[2] for line in lines if line.startswith(f"epoch {n}:")] for n in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert "'3 + 4' -> '7', 4 tokens, {'difficulty': 1, 'kind': 'math'}" in epochs[0]
    assert len(lines) == 6


def test_custom_loss_keeps_the_contract_and_has_a_gradient_of_its_own() -> None:
    lines = run_example("custom_loss")
    assert lines[0] == "problems: []"
    gradients = [json.loads(line.partition(":")[2]) for line in lines[1:]]
    assert gradients[0] == [
        -0.25,
        0.0,
        0.25,
        0.0,
    ]  # the clip takes the gradient of both tokens far from the old policy
    assert gradients[1][0] == -gradients[1][2] == -0.25
    assert gradients[1][1] < 0 < gradients[1][3]


@pytest.mark.slow
@pytest.mark.engine
def test_sample_with_engine_prints_a_group() -> None:
    lines = [line for line in run_example("sample_with_engine") if re.match(r"(stop|length) -\d", line)]
    assert len(lines) == 4
    assert len(set(lines)) > 1


@pytest.mark.engine
def test_one_update_moves_the_policy_and_the_engine_follows(tmp_path: Path) -> None:
    lines = run_example("one_update", str(make_base(tmp_path)))
    text = "\n".join(lines)
    assert re.search(r"^reward 0\.\d+ over 64 samples$", text, re.MULTILINE)
    norm = re.search(r"^loss -?[\d.]+, gradient norm ([\d.]+)$", text, re.MULTILINE)
    assert norm is not None
    assert float(norm[1]) > 0
    gap = re.search(r"^engine at version 1: log-probs within (\S+) of the learner's$", text, re.MULTILINE)
    assert gap is not None
    assert float(gap[1]) < 1e-4


def test_every_example_is_short_documented_tested_and_listed() -> None:
    names = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    assert len(names) == 6
    tested = (ROOT / "tests/integration/test_rl_run.py").read_text() + Path(__file__).read_text()
    listed = (ROOT / "README.md").read_text() + (ROOT / "docs/api.md").read_text()
    for name in names:
        text = (EXAMPLES / f"{name}.py").read_text()
        assert len(text.splitlines()) <= MAX_LINES, name
        assert f"    python examples/{name}.py" in text, name
        assert f'run_example("{name}"' in tested, name
        assert f"examples/{name}.py" in listed, name
