"""Summarises a `grpo rl` run in one result file: evaluations, curve, and completions before and after.

.venv/bin/grpo rl smollm2-arithmetic
.venv/bin/python benchmarks/rl_run.py runs/smollm2-arithmetic
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from common import save

CURVE = (
    "step", "reward/accuracy", "reward/format", "length/mean", "policy/entropy", "group/zero_variance_share",
    "logprob_mismatch/mean", "logprob_mismatch/max", "time/rollout_s", "time/learn_s",
)  # fmt: skip
SAMPLES = 20
PROMPT_CHARS = 300
"""Characters kept from the end of a prompt, which holds the question."""


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def completions(path: Path) -> list[dict[str, Any]]:
    """Return the first completion of some questions, spread evenly over the evaluation."""
    table = [row for row in pq.read_table(path).to_pylist() if row["index"] == 0]
    chosen = table[:: max(1, len(table) // SAMPLES)][:SAMPLES]
    return [
        {
            "prompt": row["prompt"][-PROMPT_CHARS:],
            "answer": row["answer"],
            "completion": row["completion"],
            "score": row["total"],
        }
        for row in chosen
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run directory of a run that has ended")
    parser.add_argument("--name", help="of the result file; default: the run's")
    args = parser.parse_args()
    summary = json.loads((args.run / "summary.json").read_text(encoding="utf-8"))
    files = sorted((args.run / "eval").glob("step-*.parquet"))
    result = {
        "config": json.loads((args.run / "config.json").read_text(encoding="utf-8")),
        "summary": summary,
        "evals": rows(args.run / "eval.jsonl"),
        "curve": [{k: row[k] for k in CURVE if k in row} for row in rows(args.run / "metrics.jsonl")],
        "samples_before": completions(files[0]),
        "samples_after": completions(files[-1]),
    }
    path = save(args.name or args.run.name.replace("-", "_"), result)
    for row in result["evals"]:
        print(
            f"step {row['step']:>4}: pass@1 {row['pass1']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]  "
            f"length {row['length']:.1f}"
        )
    print(f"{summary['minutes']:.1f} minutes  {path}")


if __name__ == "__main__":
    main()
