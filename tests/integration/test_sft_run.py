"""The real `grpo sft` on real Ray: it survives kill -9, and its policy loads where it must."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Cluster
from tests.tiny import command, environment, make_base, run_grpo

pytestmark = [pytest.mark.ray]

RECIPE = """
stage = "sft"
seed = 3
run_dir = "{run_dir}"
epochs = 2
batch_size = 4

[policy]
model = "{model}"
compute_dtype = "float32"
{policy}

[data]
source = "{data}"

[optimizer]
lr = 5e-3

[learner]
ranks = 2
threads = 1

[eval]
holdout = 4
every_steps = 5

[checkpoint]
every_steps = 2
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def write_inputs(folder: Path, model: Path, policy: str = "") -> Path:
    rows = [
        {"prompt": f" {a} * {b}", "completion": f" {a} * {b} = {a * b % 10}."}
        for a in range(8)
        for b in range(6)
    ]
    data = folder / "rows.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    recipe = folder / "run.toml"
    recipe.write_text(RECIPE.format(run_dir=folder / "run", model=model, data=data, policy=policy))
    return recipe


def outcome(run_dir: Path) -> tuple[bytes, list[dict[str, Any]], dict[str, Any]]:
    """All that must be equal however often a run was killed."""
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run_dir / "summary.json").read_text())
    times = ("time/update_s", "tokens_per_s", "minutes")
    return (
        (run_dir / "policy" / "model.safetensors").read_bytes(),
        [{k: v for k, v in row.items() if k not in times} for row in rows],
        {k: v for k, v in summary.items() if k not in times},
    )


def kill_after_rows(recipe: Path, rows: int, cluster: Cluster) -> None:
    """Start the command and end it with SIGKILL once so many rows are written."""
    metrics = recipe.parent / "run" / "metrics.jsonl"
    env = environment(cluster.address)
    with subprocess.Popen(command("sft", recipe), env=env, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (metrics.exists() and len(metrics.read_text().splitlines()) >= rows):
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline, "the run did not get that far"
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def uninterrupted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run_grpo("sft", write_inputs(folder, base))
    return folder / "run"


def test_a_run_leaves_a_policy_that_learnt(uninterrupted: Path) -> None:
    from transformers import AutoModelForCausalLM

    summary = json.loads((uninterrupted / "summary.json").read_text())
    assert summary["steps"] == 22
    assert (summary["examples"], summary["held_out"]) == (44, 4)
    assert summary["final_heldout_loss"] < 0.5 * summary["first_heldout_loss"]
    learnt, rest = divmod(summary["trained_tokens"], 2)  # epochs
    assert rest == 0
    assert (
        0.8 * summary["data"]["reply_tokens"] < learnt < summary["data"]["reply_tokens"]
    )  # 4 of 48 are held out
    assert summary["data"] == {"rows": 48, "bad_rows": 0, "too_long": 0} | {
        k: summary["data"][k] for k in ("tokens", "reply_tokens")
    }
    AutoModelForCausalLM.from_pretrained(uninterrupted / "policy")
    names = {p.name for p in uninterrupted.iterdir()}
    assert {"config.json", "manifest.json", "report.html", "samples", "checkpoints"} <= names


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_bits_but_not_with_other_data(
    base: Path, uninterrupted: Path, cluster: Cluster, tmp_path: Path
) -> None:
    recipe = write_inputs(tmp_path, base)
    kill_after_rows(recipe, 11, cluster)
    assert not (tmp_path / "run" / "summary.json").exists()

    rows = (tmp_path / "rows.jsonl").read_text()
    (tmp_path / "rows.jsonl").write_text(rows + '{"prompt": " 1", "completion": " 1."}\n')
    refused = run_grpo("sft", recipe, check=False)
    assert refused.returncode == 1
    assert "the data is not what the run began with" in " ".join(refused.stderr.split())

    (tmp_path / "rows.jsonl").write_text(rows)
    run_grpo("sft", recipe, cluster=cluster.address)
    assert outcome(tmp_path / "run") == outcome(uninterrupted)


def test_a_finished_run_does_nothing(uninterrupted: Path) -> None:
    assert "nothing to do" in run_grpo("sft", uninterrupted.parent / "run.toml").stdout


@pytest.mark.slow
def test_distillation_by_lora_leaves_merged_weights_and_the_adapter(
    base: Path, cluster: Cluster, tmp_path: Path
) -> None:
    from policies.load import load_policy
    from policies.logprobs import sequence_logprobs
    from policies.lora import add_adapters, load_adapter

    recipe = write_inputs(tmp_path, base, "[policy.lora]\nrank = 4\nalpha = 8")
    recipe.write_text(recipe.read_text().replace('stage = "sft"', 'stage = "distill"'))
    done = run_grpo("distill", recipe, "--set", "max_steps=6", cluster=cluster.address)
    assert "lr 0.005 as the recipe says; preset qwen-1.5b" in " ".join(done.stdout.split())
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["final_heldout_loss"] < summary["first_heldout_loss"]
    policy = load_policy(tmp_path / "run" / "policy")
    adapted: Any = load_policy(base)
    add_adapters(adapted, 4, 8.0, (), seed=0)
    load_adapter(adapted, tmp_path / "run" / "policy" / "adapter")
    found, expected = (sequence_logprobs(m, [5, 9, 3, 7, 2]) for m in (policy, adapted))
    assert (found - expected).abs().max() < 2e-5
    assert (found - sequence_logprobs(load_policy(base), [5, 9, 3, 7, 2])).abs().max() > 0.01
