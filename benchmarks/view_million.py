"""How fast `grpo view` answers over a million samples: filters, sorts, text searches and pages, through HTTP.

    python benchmarks/view_million.py [--rows 1000000] [--chars 600] [--folder DIR]

Makes a run folder of sample files of 512 rows each, as `grpo rl` writes them (in DIR/million, which is kept and taken
again, or in a temporary folder; about 1 GB), starts the server on it and asks. "first" is the first request of its kind
(columns are read from disk), "again" the median of five later ones with other bounds or pages. The processor
time beside each does not depend on what else the machine does. Result: benchmarks/results/view_million.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from common import RESULTS, machine

from grpo.tracking.jsonl import append_rows
from grpo.tracking.samples import file_name, file_schema

ROWS_PER_STEP = 512
GROUP = 16


def make_run(folder: Path, rows: int, chars: int) -> None:
    """Write the run: texts of random words, one row in 100,000 with a rare word."""
    rng = np.random.default_rng(1)
    words = np.array([f"w{number:x}" for number in rng.integers(0, 1 << 20, 4096)])
    schema = file_schema(["accuracy", "format"], [])
    (folder / "samples").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"stage": "rl", "steps": rows // ROWS_PER_STEP}))
    steps = rows // ROWS_PER_STEP
    per_text = max(1, chars // 6)
    for step in range(1, steps + 1):
        n = ROWS_PER_STEP
        accuracy = rng.integers(0, 2, n).astype(float)
        text = words[rng.integers(0, len(words), (n, per_text))]
        completions = [" ".join(row) for row in text]
        if step % max(1, steps // 10) == 0:
            completions[7] += " needle"
        table = {
            "id": [f"rl-{step}/{i // GROUP}/{i % GROUP}" for i in range(n)], "stage": ["rl"] * n, "step": [step] * n,
            "prompt_id": [f"{(step * 32 + i // GROUP) % 8000:016x}" for i in range(n)],
            "index": [i % GROUP for i in range(n)],
            "prompt": [f"User: question {(step * 32 + i // GROUP) % 8000} Assistant: <think>" for i in range(n)],
            "completion": completions, "total": accuracy + 0.3, "verdict": ["ok"] * n, "reason": [""] * n,
            "advantage": rng.standard_normal(n), "discarded": [False] * n,
            "finish_reason": np.where(rng.random(n) < 0.05, "length", "stop"), "tokens": rng.integers(5, 4000, n),
            "completion_ids": rng.integers(0, 32000, (n, 64)).tolist(), "seed": rng.integers(0, 1 << 40, n),
            "version_first": [step - 1] * n, "version_last": [step - 1] * n, "accuracy": accuracy, "format": np.ones(n),
        }  # fmt: skip
        columns = {name: table.get(name, [None] * n) for name in schema.names}
        pq.write_table(
            pa.table(columns, schema=schema), folder / "samples" / file_name(step), compression="zstd"
        )
        append_rows(folder / "metrics.jsonl", [{"step": step, "reward/total": float(accuracy.mean())}])


def ask(url: str, path: str, **parameters: object) -> tuple[float, dict[str, object]]:
    """Return (seconds, answer)."""
    began = time.perf_counter()
    with urllib.request.urlopen(f"{url}/api/{path}?{urlencode(parameters)}", timeout=600) as answer:
        found = json.loads(answer.read())
    return time.perf_counter() - began, found


QUESTIONS: dict[str, tuple[str, list[dict[str, object]]]] = {
    "newest page": ("samples", [{}, *({"offset": 25 * i} for i in range(1, 6))]),
    "a page in the middle": ("samples", [{"offset": 500_000 + 25 * i} for i in range(6)]),
    "reward at most 0.5, truncated": (
        "samples", [{"reward_max": 0.5, "truncated": "yes", "offset": 25 * i} for i in range(6)]
    ),
    "tokens between bounds": ("samples", [{"tokens_min": 100 * i, "tokens_max": 100 * i + 50} for i in range(1, 7)]),
    "sorted by advantage": ("samples", [{"sort": "advantage", "offset": 25 * i} for i in range(6)]),
    "all samples of a prompt": ("samples", [{"prompt": f"{i:016x}"} for i in range(10, 16)]),
    "search, common word (page full early)": ("samples", [{"text": f"w{c}"} for c in "123456"]),
    "search, rare word (whole scan)": (
        "samples", [{"text": word} for word in ("needle", "Needle", "NEEDLE", "needl", "eedle", "eedl")]
    ),
    "the same rare word again, filtered": ("samples", [{"text": "needle", "reward_min": i / 10} for i in range(6)]),
    "search, exact case (whole scan)": (
        "samples", [{"text": word, "case": "yes"} for word in ("needle", "eedle", "eedl", "needl", "dle", "edle")]
    ),
    "one sample's history": ("sample", [{"id": f"rl-{step}/3/5"} for step in (100, 101, 500, 900, 1300, 1900)]),
    "curves": ("curves", [{}] * 6),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--chars", type=int, default=600)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        run_dir = (options.folder or Path(root)) / "million"
        if not run_dir.exists():
            make_run(run_dir, options.rows, options.chars)
        size = sum(path.stat().st_size for path in run_dir.rglob("*.parquet"))
        command = [sys.executable, "-m", "grpo.cli", "view", str(run_dir), "--port", "7497"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            url = wait_for("http://127.0.0.1:7497")
            figures = {}
            process = psutil.Process(server.pid)
            for name, (path, requests) in QUESTIONS.items():
                times = []
                for parameters in requests:
                    before = process.cpu_times()
                    wall = ask(url, path, run="million", **parameters)[0]
                    after = process.cpu_times()
                    times.append((wall, after.user + after.system - before.user - before.system))
                first, *again = times
                medians = [statistics.median(column) for column in zip(*again, strict=True)]
                names = ("first_s", "first_cpu_s", "again_s", "again_cpu_s")
                figures[name] = {n: round(v, 3) for n, v in zip(names, (*first, *medians), strict=True)}
                print(f"{name:40}", *(f"{n} {v:7.3f}" for n, v in figures[name].items()), flush=True)
            memory = int(
                next(
                    line
                    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines()
                    if "VmRSS" in line
                ).split()[1]
            )
        finally:
            server.terminate()
            server.wait(30)
    files = options.rows // ROWS_PER_STEP
    result = {
        "machine": machine(),
        "rows": files * ROWS_PER_STEP,
        "files": files,
        "chars_per_completion": options.chars,
        "parquet_mib": round(size / 2**20),
        "server_rss_mib": round(memory / 1024),
        "seconds": figures,
    }
    (RESULTS / "view_million.json").write_text(json.dumps(result, indent=2) + "\n")


def wait_for(url: str) -> str:
    """Return the address once the server answers."""
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return url
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    main()
