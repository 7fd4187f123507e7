"""`grpo run` on real stages, each in its own process: killed at random points it ends with the same artefacts."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Cluster
from tests.tiny import command, environment

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.ray

HEAD = """# Stages as small as they go
[graph]
run_dir = "run"
seed = 5

[stages.base]
command = "pretrain"
[stages.base.set]
max_steps = {steps}
decay_steps = 20
documents_per_step = 16
gate_every_steps = {steps}
restart_after_steps = {steps}
gate_problems = 8
gate_pass = 0.0
threads = 1
checkpoint_every_steps = 10
preset_overrides = {{ rope_parameters = {{ rope_type = "default", rope_theta = 100.0 }} }}
"""
SHORT = """
[stages.picked]
command = "curate"
[stages.picked.set]
sources = ["samples.jsonl"]
per_prompt = 2

[stages.tuned]
command = "sft"
[stages.tuned.set]
policy = { model = "{base.policy}", compute_dtype = "float32" }
data = { source = "{picked.rows}" }
batch_size = 2
epochs = 4
optimizer = { lr = 1e-3 }
learner = { threads = 1 }
checkpoint = { every_steps = 2 }
"""
LONG = """
[stages.zero]
command = "rl"
[stages.zero.set]
steps = 3
policy = { model = "{base.policy}", compute_dtype = "float32" }
data = { source = "chain", template = "r1-zero", params = { count = 64 } }
rewards = [{ name = "format" }, { name = "accuracy" }]
algorithm = { group_size = 4, questions_per_step = 4, kl_coef = 0.01 }
sampling = { max_tokens = 24 }
optimizer = { lr = 1e-3 }
engine = { chunk_groups = 4, max_sequences = 32, max_model_len = 256, kv_cache_gib = 0.1, threads = 1 }
learner = { threads = 1 }
checkpoint = { every_phases = 1 }

[stages.drawn]
command = "sample"
[stages.drawn.set]
policy = { model = "{zero.policy}", compute_dtype = "float32" }
data = { source = "chain", template = "r1-zero", params = { count = 24 } }
rewards = [{ name = "format" }]
samples = 4
sampling = { max_tokens = 24 }
engine = { chunk_groups = 4, max_sequences = 32, max_model_len = 256, kv_cache_gib = 0.1, threads = 1 }

[stages.picked]
command = "curate"
[stages.picked.set]
sources = ["{drawn.samples}"]
correct = "format"
min_score = 0.0
per_prompt = 2
max_repeated_share = 1.0

[stages.tuned]
command = "sft"
[stages.tuned.set]
policy = { model = "{base.policy}", compute_dtype = "float32" }
data = { source = "{picked.rows}" }
batch_size = 4
epochs = 2
max_tokens = 128
optimizer = { lr = 1e-3 }
learner = { threads = 1 }
checkpoint = { every_steps = 2 }

[stages.eval-tuned]
command = "eval"
row = { table = "stages", name = "Dev1" }
[stages.eval-tuned.set]
policy = { model = "{tuned.policy}", compute_dtype = "float32" }
rewards = [{ name = "accuracy" }, { name = "format" }]
sampling = { max_tokens = 24 }
engine = { chunk_groups = 8, max_sequences = 32, max_model_len = 256, kv_cache_gib = 0.1, threads = 1 }
eval = { samples = 2, data = { source = "chain", split = "held-out", template = "r1-zero", params = { count = 8 } } }
"""


def folder(tmp_path: Path, name: str, text: str) -> Path:
    """A working directory with the recipe: artefacts hold paths, so both runs must call them the same."""
    place = tmp_path / name
    place.mkdir()
    (place / "g.toml").write_text(text)
    text = " <think> {0} + 1 = {1} </think> <answer> {1} </answer>"
    rows = [
        {
            "id": f"{i}/0", "prompt_id": str(i), "prompt": f"{i} + 1", "accuracy": float(i % 4 > 0),
            "completion": text.format(i, (i + 1) % 10), "language": "en",
        }
        for i in range(9)
    ]  # fmt: skip
    (place / "samples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return place


def start(place: Path, *words: str, cluster: Cluster | None = None) -> subprocess.Popen[str]:
    env = environment(cluster and cluster.address) | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command("run", "g.toml", *words), cwd=place, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def finish(place: Path, *words: str, cluster: Cluster | None = None) -> str:
    with start(place, *words, cluster=cluster) as process:
        out, err = process.communicate(timeout=3000)
    assert process.returncode == 0, f"{out[-3000:]}\n{err[-6000:]}"
    return out


def states(out: str) -> list[tuple[str, str]]:
    """(stage, state) of every line that says one."""
    words = [line.split() for line in out.splitlines()]
    return [(w[0], w[2]) for w in words if len(w) > 2 and w[2] in ("kept", "running", "done")]


def steps_of(place: Path) -> list[tuple[int, float]]:
    """(step, loss) of the stage `tuned`."""
    lines = (place / "run" / "tuned" / "metrics.jsonl").read_text().splitlines()
    return [(row["step"], row["loss"]) for row in map(json.loads, lines) if "loss" in row]


def artefacts(place: Path) -> dict[str, Any]:
    summary = json.loads((place / "run" / "summary.json").read_text())
    assert summary["finished"]
    return {name: node["artefacts"] for name, node in summary["nodes"].items()}


def kill_at_random(place: Path, kills: int, span_s: float, seed: int) -> int:
    """Start the graph and kill it with all its processes, again and again; how often it was still at work."""
    rng, killed = random.Random(seed), 0
    for _ in range(kills):
        with start(place) as process:
            try:
                process.wait(rng.uniform(0.1, 1.0) * span_s)
            except subprocess.TimeoutExpired:
                killed += 1
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return killed


def check_same_artefacts(tmp_path: Path, text: str, kills: int, share: float) -> None:
    whole, cut = folder(tmp_path, "whole", text), folder(tmp_path, "cut", text)
    began = time.monotonic()
    finish(whole)
    killed = kill_at_random(cut, kills, (time.monotonic() - began) * share, seed=1)
    assert killed, "it was never killed; make it longer"
    finish(cut)
    assert artefacts(cut) == artefacts(whole)


@pytest.mark.slow
def test_killed_in_a_stage_it_goes_on_and_reruns_what_changed(cluster: Cluster, tmp_path: Path) -> None:
    whole = folder(tmp_path, "whole", HEAD.format(steps=60) + SHORT)
    with start(whole, cluster=cluster) as process:
        while not (whole / "run" / "tuned" / "checkpoints").exists():
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    continued = finish(whole, cluster=cluster)
    assert ("picked", "kept") in states(continued)
    assert ("tuned", "done") in states(continued)
    again = finish(whole)
    assert states(again) == [("base", "kept"), ("picked", "kept"), ("tuned", "kept")]
    assert "tuned" in (whole / "run" / "report.html").read_text()
    before, rows = artefacts(whole), steps_of(whole)
    changed = finish(whole, "--set", "picked.per_prompt=1", "--set", "tuned.epochs=5", cluster=cluster)
    after = artefacts(whole)
    ended = [state for state in states(changed) if state[1] != "running"]
    assert ended == [("base", "kept"), ("picked", "done"), ("tuned", "done")]
    assert after["picked"] == before["picked"], "one sample a prompt was all there was"
    assert after["tuned"] != before["tuned"]
    longer = steps_of(whole)
    assert longer[: len(rows)] == rows, "a stage that is made longer goes on in its folder"
    assert len(longer) > len(rows)
    assert not (whole / "run" / ".old" / "tuned").exists()


def test_interrupt_stops_the_stage_and_the_same_command_goes_on(tmp_path: Path) -> None:
    place = folder(tmp_path, "one", HEAD.format(steps=400))
    listening = ["env", "--default-signal=INT", *command("run", "g.toml")]
    env = environment() | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(listening, cwd=place, env=env, text=True, stderr=subprocess.PIPE) as process:
        while not (place / "run" / "base" / "checkpoint.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "by the same command" in error
    assert "Traceback" not in error + (place / "run" / "logs" / "base.log").read_text()
    state = json.loads((place / "run" / "base" / "node.json").read_text())
    assert state["state"] == "begun"
    assert state["seconds"] > 0


@pytest.mark.slow
def test_killed_at_random_points_it_ends_with_the_same_artefacts(tmp_path: Path) -> None:
    check_same_artefacts(tmp_path, HEAD.format(steps=60) + SHORT, kills=4, share=0.6)


@pytest.mark.slow
@pytest.mark.engine
def test_killed_at_random_points_of_every_kind_of_stage(tmp_path: Path) -> None:
    check_same_artefacts(tmp_path, HEAD.format(steps=240) + LONG, kills=8, share=0.4)
