"""Read what a training run left: its summary, its curve, its best and worst completions.

    python examples/read_run.py runs/demo

docs/algorithm.md explains the metrics; grpo/tracking/metrics.py lists them with their units.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq

from grpo.tracking.samples import sample_files


def main(run: Path) -> None:
    """Print the summary, one line per update, and two completions of the last step."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    print(
        f"held-out pass@1 {summary['base_pass1']:.3f} -> {summary['final_pass1']:.3f}, seed {summary['seed']}"
    )
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "reward/total" in row:
            print(f"step {row['step']}: reward {row['reward/total']:.3f}, {row['length/mean']:.1f} tokens")
    step, path = sample_files(run / "samples")[-1]
    rows = [row for row in pq.read_table(path).to_pylist() if row["total"] is not None]
    rows.sort(key=lambda row: row["total"])
    for name, row in (("worst", rows[0]), ("best", rows[-1])):
        print(f"{name} of step {step}: {row['total']:.2f} {row['completion']!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
