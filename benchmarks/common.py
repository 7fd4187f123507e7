"""Helpers of the benchmarks: machine description, peak memory of a process tree, result files, ways over seeds."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

PAGE = os.sysconf("SC_PAGE_SIZE")
RESULTS = Path(__file__).resolve().parent / "results"
UNSEEN = 10**6
"""A batch of a procedural corpus that no run reaches."""


def machine() -> dict[str, Any]:
    """Return the machine description that a reader needs to judge a figure."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.machine())
    flags = next((line for line in lines if line.startswith("flags")), "")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "bf16": [f for f in ("avx512_bf16", "amx_bf16") if f in flags],
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
    }


def arithmetic_rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Return sums of two two-digit numbers as chat questions."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        a, b = rng.randint(10, 99), rng.randint(10, 99)
        rows.append(
            {
                "question": f"What is {a} + {b}? Think step by step, then give the number.",
                "answer": str(a + b),
            }
        )
    return rows


class TreeMemory:
    """Measures the peak memory of a process and all its descendants together.

    The sum of RSS, which counts shared pages once per process, is sampled ten times a second. PSS (a page shared by n
    processes counts 1/n in each, so the sum is the memory really used) makes the kernel walk every page and blocks the
    process's page faults meanwhile: it is sampled every two seconds, and whenever the RSS has grown by one percent.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_pss = 0
        self.peak_rss = 0
        self.at_peak: dict[str, int] = {}

    def __enter__(self) -> TreeMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        last, at_last = 0.0, 0
        while not self._stop.wait(0.1):
            try:
                root = psutil.Process(self._pid)
                processes = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            rss = sum(_rss(process.pid) for process in processes)
            self.peak_rss = max(self.peak_rss, rss)
            if time.monotonic() - last > 2 or (rss == self.peak_rss and rss > 1.01 * at_last):
                self._look_at_pss(processes)
                last, at_last = time.monotonic(), rss

    def _look_at_pss(self, processes: Sequence[psutil.Process]) -> None:
        by_name = {}
        for process in processes:
            try:
                by_name[f"{process.pid} {_title(process)}"] = _pss_kib(process.pid) // 1024
            except (psutil.Error, OSError):
                continue
        pss = sum(by_name.values()) * 2**20
        if pss > self.peak_pss:
            self.peak_pss, self.at_peak = pss, by_name

    def report(self) -> dict[str, Any]:
        """Return the peak in GiB, and the processes that made it up (MiB)."""
        parts = dict(sorted(self.at_peak.items(), key=lambda item: -item[1])[:12])
        return {
            "peak_pss_gib": round(self.peak_pss / 2**30, 2),
            "peak_rss_sum_gib": round(self.peak_rss / 2**30, 2),
            "processes_at_peak_mib": parts,
        }


def _title(process: psutil.Process) -> str:
    """Return a process's command without folders: "ray::RankWorker", "python -m grpo.cli"."""
    words = [Path(word).name if word.startswith("/") else word for word in process.cmdline()[:3]]
    return " ".join("…" if len(word) > 40 else word for word in words) or process.name()


def _rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


def _pss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def run_watched(command: Sequence[str], **options: Any) -> tuple[dict[str, Any], float]:
    """Run a command; return (memory report, seconds). Raises CalledProcessError if it fails."""
    start = time.perf_counter()
    with subprocess.Popen(command, **options) as process, TreeMemory(process.pid) as memory:
        code = process.wait()
    if code:
        raise subprocess.CalledProcessError(code, command)
    return memory.report(), time.perf_counter() - start


def save(name: str, result: dict[str, Any]) -> Path:
    """Write results/<name>.json with the machine's description."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
    return path


def sweep_parser(description: str | None, name: str, steps: int) -> argparse.ArgumentParser:
    """Return a parser of what every sweep is told: seeds, steps of a run, name of the result file."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--name", default=name)
    return parser


def sweep(
    name: str,
    shared: dict[str, Any],
    ways: Sequence[str],
    seeds: Sequence[int],
    run: Callable[[str, int], dict[str, float]],
) -> Path:
    """Measure every way with every seed, and write results/<name>.json after each run.

    Runs that the file holds already are kept if it has the same `shared`, so that a sweep can be measured in pieces.

    Args:
        name: of the result file.
        shared: what all runs have in common, such as their number of steps.
        ways: what is compared.
        seeds: of the runs of each way.
        run: from a way and a seed to the figures.
    """
    path = RESULTS / f"{name}.json"
    before = json.loads(path.read_text()) if path.is_file() else {}
    same = all(before.get(key) == value for key, value in shared.items())
    result = {**shared, "ways": before.get("ways", {}) if same else {}}
    for way in ways:
        for seed in seeds:
            rows = result["ways"].setdefault(way, {"mean": {}, "seeds": {}})
            if str(seed) in rows["seeds"]:
                continue
            rows["seeds"][str(seed)] = run(way, seed)
            measured = list(rows["seeds"].values())
            rows["mean"] = {key: statistics.mean(row[key] for row in measured) for key in measured[0]}
            save(name, result)
            figures = {key: round(value, 4) for key, value in rows["seeds"][str(seed)].items()}
            print(f"{way:45s} seed {seed}", json.dumps(figures), flush=True)
    return path
