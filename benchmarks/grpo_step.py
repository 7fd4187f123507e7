"""Compares seconds and peak memory of one GRPO step with TRL's GRPOTrainer: same model, prompts, reward and sizes.

    make -C benchmarks trl-env
    .venv/bin/python benchmarks/grpo_step.py --model models/smollm2 --trl-python benchmarks/trl/.venv/bin/python

Both sides: float32 master weights with bfloat16 matrix work, 4 prompts × 8 samples × ≤ 96 tokens, β 0.001, all cores.
The first step of each side is warm-up and is shown but not counted. Memory is the peak of all processes together.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import arithmetic_rows, run_watched, save

HERE = Path(__file__).resolve().parent

RECIPE = """
stage = "rl"
seed = {seed}
steps = {steps}
run_dir = "{run_dir}"
[policy]
model = "{model}"
compute_dtype = "bfloat16"
[data]
source = "{data}"
template = "chat"
duplicates = "drop"
[[rewards]]
name = "{reward}"
[algorithm]
group_size = {group}
questions_per_step = {prompts}
kl_coef = {beta}
[sampling]
max_tokens = {tokens}
[optimizer]
lr = {lr}
moments = "bfloat16"
[engine]
chunk_groups = {prompts}
max_sequences = {samples}
max_model_len = 512
kv_cache_gib = 0.25
[learner]
tokens_per_micro_batch = {micro_tokens}
recompute = true
[checkpoint]
every_phases = 1000000
[guards]
window = 1000000
"""


def ours(args: argparse.Namespace, data: Path, folder: Path) -> dict[str, Any]:
    """Run `grpo rl` and read its metrics."""
    recipe = folder / "recipe.toml"
    recipe.write_text(
        RECIPE.format(
            seed=args.seed, steps=args.steps, run_dir=folder / "run", model=args.model, data=data, beta=args.beta,
            reward=HERE / "arithmetic_reward.py:last_number", group=args.group, prompts=args.prompts, lr=args.lr,
            tokens=args.tokens, samples=args.prompts * args.group, micro_tokens=args.micro_tokens,
        )
    )  # fmt: skip
    memory, _ = run_watched([sys.executable, "-m", "grpo.cli", "rl", str(recipe)], stdout=sys.stderr)
    rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    phases = ("rollout", "old_ref", "learn", "sync")
    return {
        "seconds": [sum(r[f"time/{p}_s"] for p in phases) for r in rows],
        "by_phase": [{p: round(r[f"time/{p}_s"], 2) for p in phases} for r in rows],
        "reward": [r["reward/total"] for r in rows],
        "length": [r["length/mean"] for r in rows],
        "gap_mean": [r["logprob_mismatch/mean"] for r in rows],
        "gap_max": [r["logprob_mismatch/max"] for r in rows],
        "kl": [r.get("policy/kl") for r in rows],
        **memory,
    }


def theirs(args: argparse.Namespace, data: Path, folder: Path) -> dict[str, Any]:
    """Run TRL in its own environment and read the JSON it prints."""
    log = folder / "trl.out"
    command = [
        args.trl_python,
        HERE / "trl/run_trl.py",
        "--model",
        args.model,
        "--data",
        data,
        "--out",
        folder / "trl",
    ]
    for name in ("steps", "prompts", "group", "tokens", "seed", "lr", "beta"):
        command += [f"--{name}", getattr(args, name)]
    with log.open("w") as out:
        memory, _ = run_watched([str(c) for c in command], stdout=out, stderr=subprocess.STDOUT)
    result = json.loads(log.read_text().splitlines()[-1])
    return {
        "seconds": result["seconds"],
        "reward": [s["reward"] for s in result["steps"]],
        "length": [s["completions/mean_length"] for s in result["steps"]],
        "kl": [s["kl"] for s in result["steps"]],
        "trl": result["trl"],
        **memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument(
        "--trl-python", help="python of the rival's environment; without it only our side runs"
    )
    sizes = {"steps": 6, "prompts": 4, "group": 8, "tokens": 96, "seed": 1, "micro_tokens": 2048}
    for name, default in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--beta", type=float, default=0.001)
    parser.add_argument("--name", default="grpo_step")
    args = parser.parse_args()
    args.model = args.model.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = folder / "data.jsonl"
        rows = arithmetic_rows(args.prompts * args.steps * 2, args.seed)
        data.write_text("".join(json.dumps(r) + "\n" for r in rows))
        result: dict[str, Any] = {"sizes": {k: str(v) for k, v in vars(args).items() if k != "trl_python"}}
        result["ours"] = ours(args, data, folder)
        if args.trl_python:
            result["trl"] = theirs(args, data, folder)
    for side in ("ours", "trl"):
        if side in result:
            result[side]["median_seconds"] = statistics.median(result[side]["seconds"][1:])
    if "trl" in result:
        result["speedup"] = round(result["trl"]["median_seconds"] / result["ours"]["median_seconds"], 2)
        result["memory_ratio"] = round(result["trl"]["peak_pss_gib"] / result["ours"]["peak_pss_gib"], 2)
    path = save(args.name, result)
    print(json.dumps({k: v for k, v in result.items() if k in ("speedup", "memory_ratio")}))
    for side in ("ours", "trl"):
        if side in result:
            print(
                f"{side}: {result[side]['median_seconds']:.1f} s a step, {result[side]['peak_pss_gib']} GiB"
            )
    print(path)


if __name__ == "__main__":
    main()
