"""Runs `grpo demo --task code` from scratch with fixed seeds; reports held-out pass@1, minutes and time per part.

.venv/bin/python benchmarks/code_tiny.py --seeds 1 2
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from common import save

BOUNDS = "final_pass1 − base_pass1 ≥ 0.3, minutes (pre-training included) ≤ 20"


def holds(row: dict[str, float]) -> bool:
    """Return True if a run is within `BOUNDS`."""
    return row["final_pass1"] - row["base_pass1"] >= 0.3 and row["minutes"] <= 20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--folder", type=Path, default=Path("runs/code-tiny-seeds"))
    parser.add_argument("--resume", action="store_true", help="go on with what is in the folder")
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        run_dir = args.folder / f"seed{seed}"
        if not args.resume:
            for old in (run_dir, run_dir.with_name(run_dir.name + "-base")):
                shutil.rmtree(old, ignore_errors=True)
        demo = [sys.executable, "-m", "grpo.cli", "demo", "--task", "code"]
        subprocess.run([*demo, "--seed", str(seed), "--run-dir", str(run_dir)], check=True)
        summary = json.loads((run_dir / "summary.json").read_text())
        evals = [json.loads(line) for line in (run_dir / "eval.jsonl").read_text().splitlines()]
        pretrained = json.loads((run_dir.with_name(run_dir.name + "-base") / "summary.json").read_text())
        curve = [{k: e[k] for k in ("step", "pass1", "passk", "ci_low", "ci_high", "length")} for e in evals]
        steps = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        seconds = {
            name: round(sum(step.get(name, 0.0) for step in steps), 2)
            for name in sorted({name for step in steps for name in step if name.startswith("time/")})
        }
        rows.append(
            summary
            | {"pretrain": pretrained, "evals": curve, "seconds": seconds, "within_bounds": holds(summary)}
        )
    path = save("code_tiny", {"bounds": BOUNDS, "runs": rows})
    for row in rows:
        print(
            f"seed {row['seed']}: pass@1 {row['base_pass1']:.3f} → {row['final_pass1']:.3f}, {row['minutes']:.1f} min, "
            f"{'within' if row['within_bounds'] else 'OUTSIDE'} bounds"
        )
    print(path)


if __name__ == "__main__":
    main()
