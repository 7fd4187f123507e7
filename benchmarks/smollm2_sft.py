"""Trains SmolLM2-135M-Instruct by SFT on GSM8K's solutions, full and LoRA; reports pass@1 and samples before and after.

    python benchmarks/smollm2_sft.py --model models/smollm2 --train gsm8k_train.jsonl.gz --test gsm8k_test.jsonl

Runs `grpo eval` and `grpo sft` with the shipped recipes and data from local files. Finished steps are not repeated:
the same command continues where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from common import RESULTS, machine

from grpo.rl.evaluate import interval

VARIANTS = {"full": "smollm2-gsm8k-sft", "lora": "smollm2-gsm8k-sft-lora"}
EVALUATION = ("eval.temperature=0.6", "eval.top_p=0.95", "eval.max_tokens=256")
"""Sampling as in R1's evaluations; 200 problems × 4 samples by the recipe."""
BATCH = ("engine.chunk_groups=50", "engine.max_sequences=200", "engine.kv_cache_gib=2.0")
SHOWN = 6
"""Number of problems whose completions are kept, before and after."""
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
RECIPES = Path(__file__).resolve().parents[1] / "data_recipes" / "recipes"


def local_copy(name: str, folder: Path, sources: dict[str, Path]) -> Path:
    """Return the shipped recipe with its hub data sets replaced by files, section by section."""
    lines, section = [], ""
    for line in (RECIPES / f"{name}.toml").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[] ")
        key = line.partition("=")[0].strip()
        if section in sources and key in ("subset", "split"):
            continue
        if section in sources and key == "source":
            line = f"source = {json.dumps(str(sources[section].resolve()))}"
        lines.append(line)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text("\n".join(lines) + "\n")
    tomllib.loads(path.read_text())
    return path


def grpo(command: str, recipe: Path, model: Path, *keys: str) -> None:
    words = ["--model", str(model), *(word for key in keys for word in ("--set", key))]
    subprocess.run([sys.executable, "-m", "grpo.cli", command, str(recipe), *words], check=True)


def evaluate(recipe: Path, model: Path, out: Path, threads: int) -> dict[str, Any]:
    rows = out / "eval.jsonl"
    if not rows.exists():
        grpo("eval", recipe, model, f'run_dir="{out}"', f"engine.threads={threads}", *EVALUATION, *BATCH)
    return json.loads(rows.read_text().splitlines()[-1])


def samples(out: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(out.rglob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def completions(out: Path) -> dict[str, dict[str, Any]]:
    """Return the first completion of each problem, by prompt."""
    return {row["prompt"]: row for row in reversed(samples(out))}


def last_number(out: Path) -> dict[str, Any]:
    """Return the fraction of samples whose last number is the answer, wherever it is: pass@1 without requiring
    \\boxed{}, which the instructed model does not write and SFT teaches first."""
    shares: dict[str, list[bool]] = {}
    for row in samples(out):
        found = NUMBER.findall(row["completion"])
        right = bool(found) and _value(found[-1]) == _value(row["answer"])
        shares.setdefault(row["prompt_id"], []).append(right)
    means = [sum(hits) / len(hits) for hits in shares.values()]
    low, high = interval(means)
    boxed = [r"\boxed{" in row["completion"] for row in samples(out)]
    return {
        "pass1": sum(means) / len(means),
        "ci_low": low,
        "ci_high": high,
        "boxed": sum(boxed) / len(boxed),
    }


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/smollm2"))
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/smollm2-sft"))
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="1 on a machine that is busy")
    parser.add_argument("--variants", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    args = parser.parse_args()
    files = {"data": args.train, "eval.data": args.test}
    recipe = local_copy("smollm2-gsm8k", args.runs / "recipes", files)
    results: dict[str, Any] = {
        "machine": machine(),
        "threads": args.threads,
        "before": {"eval": evaluate(recipe, args.model, args.runs / "before", args.threads)},
    }
    results["before"]["last_number"] = last_number(args.runs / "before")
    shown = [
        {"prompt": p, "before": row["completion"]} for p, row in completions(args.runs / "before").items()
    ]
    for variant in args.variants:
        run_dir = args.runs / variant
        local = local_copy(VARIANTS[variant], args.runs / "recipes", {"data": args.train})
        grpo("sft", local, args.model, f'run_dir="{run_dir}"', f"learner.threads={args.threads}")
        after = evaluate(recipe, run_dir / "policy", args.runs / f"after-{variant}", args.threads)
        rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        names = ("step", "loss", "heldout/loss", "grad_norm")
        results[variant] = {
            "eval": after,
            "last_number": last_number(args.runs / f"after-{variant}"),
            "summary": json.loads((run_dir / "summary.json").read_text()),
            "curve": [{n: round(row[n], 4) for n in names if n in row} for row in rows],
        }
        found = completions(args.runs / f"after-{variant}")
        for item in shown:
            item[variant] = found[item["prompt"]]["completion"]
        results["samples"] = shown[:SHOWN]
        RESULTS.mkdir(exist_ok=True)
        out = RESULTS / "smollm2_sft.json"
        out.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
        print(out)


if __name__ == "__main__":
    main()
