"""Runs `grpo run r1-tiny` from scratch with fixed seeds; reports both tables, their spread, and the paper's order.

.venv/bin/python benchmarks/r1_tiny_seeds.py --seeds 1 2 3

The order is recorded, not enforced: a finding that does not hold is written down as such.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import save

Rows = dict[str, dict[str, float]]
"""Return a table keyed by the names of its rows."""


def order(stages: Rows, students: Rows) -> dict[str, bool]:
    """Return the qualitative findings of R1 (v2 tables 3, 5, 6 and B.6), each true or false for one run."""
    s = stages
    found = {
        "R1-Zero far above base": s["R1-Zero"]["pass1"] >= s["Base"]["pass1"] + 0.3,
        "cold start restores readability": s["Dev1"]["language"] > s["R1-Zero"]["language"],
        "Dev2 at least Dev1": s["Dev2"]["pass1"] >= s["Dev1"]["pass1"],
        "language of Dev2 above R1-Zero": s["Dev2"]["language"] > s["R1-Zero"]["language"],
        "language of R1 above R1-Zero": s["R1"]["language"] > s["R1-Zero"]["language"],
        "language reward costs little accuracy": s["Dev2"]["pass1"]
        >= s["Dev2, no language reward"]["pass1"] - 0.05,
        "language reward keeps the language": s["Dev2"]["language"]
        > s["Dev2, no language reward"]["language"],
        "general score of R1 at least Dev3": s["R1"]["general"] >= s["Dev3"]["general"],
        "safety of R1 at least Dev3": s["R1"]["safe"] >= s["Dev3"]["safe"],
        "R1 loses no reasoning": s["R1"]["pass1"] >= s["Dev3"]["pass1"] - 0.02,
    }
    for name in ("Qwen", "Llama"):
        of = {kind: students[f"{name}, {kind}"]["pass1"] for kind in ("base", "RL", "distilled")}
        found[f"{name} student starts at .15 or less"] = of["base"] <= 0.15
        found[f"{name} distilled above RL"] = of["distilled"] > of["RL"]
    return found


def spread(tables: Sequence[Rows]) -> dict[str, dict[str, list[float]]]:
    """Return [mean, minimum, maximum] over the seeds, by row and column."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, row in tables[0].items():
        for column in row:
            if not all(column in table[name] for table in tables):
                continue  # the result file is older than this column
            values = [table[name][column] for table in tables]
            found.setdefault(name, {})[column] = [sum(values) / len(values), min(values), max(values)]
    return found


def by_name(rows: Sequence[dict[str, Any]]) -> Rows:
    """Return the rows of a table by their names."""
    return {row["stage"]: {k: v for k, v in row.items() if isinstance(v, int | float)} for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folder", type=Path, default=Path("runs/r1-tiny-seeds"))
    parser.add_argument("--name", default="r1_tiny")
    parser.add_argument("--keep", action="store_true", help="go on with what is in the folder")
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE")
    args = parser.parse_args()
    runs = []
    for seed in args.seeds:
        run_dir = args.folder / f"seed{seed}"
        if not args.keep:
            shutil.rmtree(run_dir, ignore_errors=True)
        settings = [f"graph.seed={seed}", f'graph.run_dir="{run_dir}"', *args.set]
        command = [sys.executable, "-m", "grpo.cli", "run", "r1-tiny"]
        subprocess.run(command + [part for s in settings for part in ("--set", s)], check=True)
        summary = json.loads((run_dir / "summary.json").read_text())
        tables = {name: by_name(summary[name]) for name in ("stages", "students")}
        seconds = {name: node["seconds"] for name, node in summary["nodes"].items()}
        runs.append(
            {
                "seed": seed,
                "minutes": summary["minutes"],
                **tables,
                "order": order(**tables),
                "seconds": seconds,
            }
        )
    over = {name: spread([run[name] for run in runs]) for name in ("stages", "students")}
    path = save(args.name, {"spread": over, "runs": runs})
    for run in runs:
        failed = [name for name, holds in run["order"].items() if not holds]
        print(
            f"seed {run['seed']}: {run['minutes']:.1f} min; does not hold: {'; '.join(failed) or 'nothing'}"
        )
    for table in over.values():
        for name, row in table.items():
            print(f"{name:28} {row['pass1'][0]:.3f} [{row['pass1'][1]:.3f}, {row['pass1'][2]:.3f}]")
    print(path)


if __name__ == "__main__":
    main()
