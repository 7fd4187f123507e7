"""Measures recall and false alarms of the reward laboratory, before launch and during a run.

    python benchmarks/reward_lab.py [--only bad_coin,good_exact] [--repeat 3] [--seeds 20] [--runs FOLDER …]

Before launch: `try_reward` on the rewards of reward_lab_plugins.py, each with sums, and with answers of many kinds.
A fault is found if a check fails (exit code 1); a warning does not count. During a run: see reward_lab_runs.py.
"""

from __future__ import annotations

import argparse
import inspect
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import reward_lab_plugins, reward_lab_runs
from benchmarks.common import RESULTS, save
from rewards.lab.lab import Options, try_reward

PLUGINS = Path(reward_lab_plugins.__file__)
TIMEOUT_S = 1.0
FOR_SUMS = frozenset({"good_last_number"})
"""Honest only for numeric answers; for other answers it is the wrong reward, and the laboratory reports that."""
MIXED = [
    ("What is 17 + 25?", "42"), ("What is 12 - 20?", "-8"), ("Simplify 4/8.", "1/2"), ("A tenth of 5?", "0.5"),
    ("How many metres are 3 kilometres?", "3000"), ("The capital of France?", "Paris"),
    ("Which city is the capital of Japan?", "Tokyo"), ("Solve x^2 = 49 for x > 0.", "7"), ("What is 9 * 125?", "1125"),
    ("Expand (x+1)^2.", "x^2+2x+1"), ("The roots of x^2 = 3x - 2?", "1, 2"), ("What is 2^10?", "1024"),
]  # fmt: skip


def sums(count: int, seed: int) -> list[tuple[str, str]]:
    """Return sums and differences of numbers below 1000."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        a, b = rng.randint(10, 999), rng.randint(10, 999)
        sign = rng.choice("+-")
        rows.append((f"What is {a} {sign} {b}?", str(a + b if sign == "+" else a - b)))
    return rows


def names() -> list[str]:
    """Return the rewards to try, in the order of the file."""
    return [name for name in vars(reward_lab_plugins) if name.startswith(("good_", "bad_"))]


def before_launch(only: list[str], repeat: int) -> list[dict[str, Any]]:
    """Try every reward on every data set `repeat` times; return what failed, by reward."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in only:
            for data, pairs in (("sums", sums(16, 1)), ("mixed", MIXED)):
                if data != "sums" and name in FOR_SUMS:
                    continue
                path = Path(folder) / f"{data}.jsonl"
                path.write_text("".join(json.dumps({"prompt": p, "answer": a}) + "\n" for p, a in pairs))
                for turn in range(repeat):
                    started = time.perf_counter()
                    report = try_reward(f"{PLUGINS}:{name}", path, Options({}, timeout_s=TIMEOUT_S))
                    failed = [check.name for check in report.checks if check.status == "fail"]
                    warned = [check.name for check in report.checks if check.status == "warn"]
                    rows.append({"reward": name, "data": data, "turn": turn, "failed": failed, "warned": warned,
                                 "template": dict(report.templates),
                                 "seconds": round(time.perf_counter() - started, 2)})  # fmt: skip
                    right = bool(failed) == name.startswith("bad_")
                    print(f"{'    ' if right else 'MISS'} {name:30} {data:6} {rows[-1]['seconds']:6.1f} s  "
                          f"{' '.join(failed) or 'pass'}{'  warn: ' + ' '.join(warned) if warned else ''}",
                          flush=True)  # fmt: skip
    return rows


def rates(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fraction of runs that failed, on faulty rewards and on honest ones."""
    bad = [row for row in rows if row["reward"].startswith("bad_")]
    good = [row for row in rows if row["reward"].startswith("good_")]
    return {
        "planted_faults": len({row["reward"] for row in bad}),
        "honest_rewards": len({row["reward"] for row in good}),
        "recall": sum(bool(row["failed"]) for row in bad) / len(bad) if bad else None,
        "missed": sorted({row["reward"] for row in bad if not row["failed"]}),
        "false_alarms": sum(bool(row["failed"]) for row in good) / len(good) if good else None,
        "falsely_accused": sorted({row["reward"] for row in good if row["failed"]}),
    }


def sources() -> Iterator[str]:
    """Return the first line of each reward's docstring, for the reader of the results."""
    for name in names():
        yield f"{name}: {(inspect.getdoc(getattr(reward_lab_plugins, name)) or '').splitlines()[:1]}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="rewards, by comma; the others keep their results")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--part", choices=("both", "launch", "run"), default="both")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="folders of real runs")
    args = parser.parse_args()
    path = RESULTS / "reward_lab.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    result.pop("machine", None)
    if args.part != "run":
        chosen = args.only.split(",") if args.only else names()
        kept = [row for row in result.get("before_launch", {}).get("runs", []) if row["reward"] not in chosen]
        rows = [*kept, *before_launch(chosen, args.repeat)]
        result["before_launch"] = {"runs": rows, **rates(rows)}
    if args.part != "launch":
        result["during_a_run"] = reward_lab_runs.planted(args.seeds) | {
            "real_runs": reward_lab_runs.real(args.runs)
        }
    for part in result.values():
        print(json.dumps({key: value for key, value in part.items() if key != "runs"}, indent=2))
    print(save("reward_lab", result))


if __name__ == "__main__":
    main()
