"""The engine's checks of scripts/gpu_check.py: they start vLLM and Ray. Each is a function of device and shape."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpu_result import Check

ROOT = Path(__file__).resolve().parent.parent


def parity(device: str, shape: str) -> Check:
    """Compare vLLM's log-probs with the learner's, before and after a weight update (`grpo doctor --policies`)."""
    from grpo.tools.doctor_policies import measured, problem

    rows = list(measured([("tiny-llama", "float32"), ("tiny-llama", "bfloat16"), ("tiny-v3", "bfloat16")]))
    bad = [f"{row.preset} {row.dtype}: {problem(row)}" for row in rows if problem(row)]
    figures = {f"{row.preset} {row.dtype} mean": row.mean for row in rows}
    text = "; ".join(f"{row.preset} {row.dtype} {row.largest:.1e} at most" for row in rows)
    return Check("parity", not bad, text + (f"; FAILS: {'; '.join(bad)}" if bad else ""), figures)


def rl(device: str, shape: str) -> Check:
    """Pre-train a tiny base for a few steps, then make two RL steps with Ray, engine, learner and weight updates."""
    with tempfile.TemporaryDirectory() as scratch:
        base, run = Path(scratch) / "base", Path(scratch) / "run"
        few = {
            "max_steps": 8,
            "decay_steps": 2,
            "warmup_steps": 1,
            "preset": "tiny-llama",
            "gate_pass": 0,
            "run_dir": base,
        }
        grpo("pretrain", "tiny-base", few)
        reward = f'[{{name = "{Path(__file__).resolve()}:even_length"}}]'
        steps = {
            "policy.model": base / "policy", "policy.compute_dtype": "bfloat16", "run_dir": run, "rewards": reward,
            "steps": 2, "eval.samples": 1, "eval.data.params.count": 8,
        }  # fmt: skip
        grpo("rl", "r1-zero-tiny", steps)
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    figures = {
        name: max(float(row[name]) for row in rows if name in row)
        for name in ("logprob_mismatch/mean", "logprob_mismatch/max", "grad_norm")
    }
    mean = figures["logprob_mismatch/mean"]
    return Check(
        "rl", mean < 0.05, f"two steps; engine and learner differ by {mean:.1e} nats on average", figures
    )


def even_length(completions: Sequence[str], **_: object) -> list[float]:
    """Reward completions with an even number of characters: an untrained policy gets it half of the time."""
    return [float(len(text) % 2 == 0) for text in completions]


def grpo(stage: str, recipe: str, keys: Mapping[str, object]) -> None:
    """Run a stage with other values of some keys; raises with the end of its output if it fails."""
    words = [word for key, value in keys.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "grpo.cli", stage, recipe, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(done.stderr.split())[-600:]
        raise RuntimeError(f"grpo {stage} {recipe} ended with {done.returncode}: {reason}")
