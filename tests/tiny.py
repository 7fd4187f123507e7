"""A tiny untrained DeepSeek-V3 folder and a recipe over it: what integration tests run the real command on."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

RECIPE = """
stage = "rl"
seed = 5
steps = 4
run_dir = "{run_dir}"

[policy]
model = "{model}"
compute_dtype = "float32"

[data]
source = "chain"
template = "r1-zero"
params = {{ count = 64 }}

[[rewards]]
name = "accuracy"

[[rewards]]
name = "{digits}"

[algorithm]
group_size = 4
questions_per_step = 4
mini_batches = 2
kl_coef = 0.01
reference_refresh_steps = 2

[sampling]
max_tokens = 12

[optimizer]
lr = 1e-2

[engine]
chunk_groups = 4
max_sequences = 32
max_model_len = 256
kv_cache_gib = 0.1
threads = 1

[learner]
threads = 1

[eval]
samples = 2

[eval.data]
source = "chain"
split = "held-out"
template = "r1-zero"
params = {{ count = 8 }}

[checkpoint]
every_phases = 1
keep = 10

[audit]
verifier = "format"
share = 1.0
max_disagreement = 0.0

[guards]
window = 1000
"""

DIGITS_REWARD = '''
"""A dense reward, so that a few steps on random weights have something to learn."""


def digits(completions, **kwargs):
    return [sum(c.isdigit() for c in text) / 12 for text in completions]
'''


def make_base(folder: Path, seed: int = 3) -> Path:
    """Write an untrained tiny-v3 policy with the tiny tokenizer; logits far from uniform."""
    from data_recipes.worlds.chain.tokenizer import build_tokenizer, pieces
    from policies.export import save_policy
    from policies.presets import new_policy, tiny_config
    from policies.tokenizer import load_tokenizer

    source = folder / "tokenizer"
    build_tokenizer(source)
    tokenizer = load_tokenizer(source)
    config = tiny_config("tiny-v3", len(pieces()), eos_token_id=tokenizer.stop_token_ids[0])
    return save_policy(new_policy(config, seed, weight_std=0.15), folder / "base", source)


def write_recipe(folder: Path, model: Path, run_dir: Path) -> Path:
    """A recipe of four steps in two phases, KL and reference refresh on."""
    plugin = folder / "digits_reward.py"
    plugin.write_text(DIGITS_REWARD)
    recipe = folder / f"{run_dir.name}.toml"
    recipe.write_text(RECIPE.format(model=model, run_dir=run_dir, digits=f"{plugin}:digits"))
    return recipe


def command(*words: str | Path) -> list[str]:
    """`grpo …` with this interpreter."""
    return [sys.executable, "-m", "grpo.cli", *map(str, words)]


def environment(cluster: str | None = None) -> dict[str, str]:
    """A clean environment for a run that starts a Ray of its own, or joins the cluster at this address."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "OMP_", "VLLM_"))}
    if cluster is not None:
        env["RAY_ADDRESS"] = cluster
    # Files run side by side: threads that wait must leave the cores to the others.
    return env | {"COLUMNS": "160", "NO_COLOR": "1", "OMP_WAIT_POLICY": "passive"}


def run_grpo(
    *words: str | Path, cluster: str | None = None, timeout_s: float = 400, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, on its own Ray or on a cluster."""
    env = environment(cluster)
    done = subprocess.run(
        command(*words), capture_output=True, text=True, timeout=timeout_s, env=env, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"exit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
    return done


def wait_for_rows(run_dir: Path, rows: int, process: subprocess.Popen[Any], timeout_s: float = 300) -> None:
    """Return when a run that goes on has that many rows of metrics."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        path = run_dir / "metrics.jsonl"
        if path.exists() and len(path.read_text().splitlines()) >= rows:
            return
        assert process.poll() is None, "the run ended before it got that far"
        time.sleep(0.02)
    raise AssertionError("the run did not get that far")


def outcome(run_dir: Path, ignore: Sequence[str] = ("time/", "tokens_per_s", "flops")) -> dict[str, Any]:
    """Everything of a run that must be equal when it is repeated: weights, metrics but for times, samples."""
    import hashlib

    import pyarrow.parquet as pq

    weights = {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted((run_dir / "policy").glob("*.safetensors"))
    }
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    kept = [
        {k: v for k, v in row.items() if not any(part in k for part in (*ignore, "wall"))} for row in rows
    ]
    samples = {
        str(p.relative_to(run_dir)): pq.read_table(p).to_pylist()
        for folder in ("samples", "eval")
        for p in sorted((run_dir / folder).glob("*.parquet"))
    }
    evals = [json.loads(line) for line in (run_dir / "eval.jsonl").read_text().splitlines()]
    return {"weights": weights, "metrics": kept, "samples": samples, "evals": evals}


def slow_tests_run(request: pytest.FixtureRequest) -> bool:
    """Tell if a test of the module that is marked slow was chosen: what tests share need not be made for the others."""
    return any(item.get_closest_marker("slow") for item in request.session.items if item.path == request.path)


def free_port() -> int:
    """A TCP port on localhost that is free now, and that nothing gets by chance before a server of the test has it.

    The kernel gives ports from 32768 on to whoever asks for any, and Ray's workers take 10002 to 19999.
    """
    while True:
        port = secrets.choice(range(20000, 30000))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
