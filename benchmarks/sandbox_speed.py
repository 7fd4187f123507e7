"""Compares the speed of programs in the sandbox with the same programs without one.

    .venv/bin/python benchmarks/sandbox_speed.py

latency: one Python program at a time, ours and a bare `python3 -I` in turn, medians. throughput: isolated runs per
second by number of threads. languages: compile and run, against the bare commands in a temporary directory; and one
compiled program on several inputs. Every run's output is checked.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import save

from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.languages import MissingToolchain, Toolchain, find_toolchain
from rewards.sandbox.launcher import python_path
from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.settings import SandboxSettings
from rewards.sandbox.types import LANGUAGES

PYTHON = {
    "one line": "print(input()[::-1])",
    "seven imports": (
        "import collections, functools, heapq, itertools, json, math, re\n"
        "words = collections.Counter(re.findall('.', input()))\n"
        "print(json.loads(json.dumps(''.join(w for w, _ in sorted(words.items(), reverse=True)))))"
    ),
}
PROGRAMS = {
    "python": PYTHON["one line"],
    "bash": "rev",
    "c": "#include <stdio.h>\n#include <string.h>\n"
    'int main(void) { char b[99]; scanf("%98s", b); for (int i = strlen(b); i--;) putchar(b[i]); puts(""); }',
    "cpp": "#include <algorithm>\n#include <iostream>\n"
    "int main() { std::string s; std::cin >> s; std::reverse(s.begin(), s.end()); std::cout << s << std::endl; }",
    "javascript": 'console.log(require("fs").readFileSync(0, "utf8").trim().split("").reverse().join(""))',
    "java": "import java.util.*; public class Main { public static void main(String[] a) { System.out.println("
    "new StringBuilder(new Scanner(System.in).nextLine()).reverse()); } }",
    "rust": "use std::io::*; fn main() { let mut s = String::new(); stdin().read_line(&mut s).unwrap(); "
    'println!("{}", s.trim().chars().rev().collect::<String>()); }',
    "go": 'package main\nimport "fmt"\nfunc main() { var s string; fmt.Scan(&s); '
    'for i := len(s) - 1; i >= 0; i-- { fmt.Printf("%c", s[i]) }; fmt.Println() }',
}
STDIN, EXPECTED = b"abcdef\n", b"fedcba\n"
INPUTS = 20


def timed(call: Callable[[], bytes], expected: bytes = EXPECTED) -> float:
    """Return milliseconds of a call that returns the program's output."""
    start = time.perf_counter()
    found = call()
    took = time.perf_counter() - start
    if found != expected:
        raise RuntimeError(f"wrong output {found!r}")
    return took * 1e3


def in_turn(calls: dict[str, Callable[[], bytes]], repeats: int) -> dict[str, float]:
    """Return the median milliseconds of each call; every round runs all in turn, so that load affects all alike."""
    for call in calls.values():
        timed(call)
    rounds = [{name: timed(call) for name, call in calls.items()} for _ in range(repeats)]
    return {name: round(statistics.median(row[name] for row in rounds), 2) for name in calls}


def latency(sandboxes: dict[str, Sandbox], repeats: int) -> dict[str, Any]:
    """Time Python programs, one at a time."""
    found = {}
    for name, source in PYTHON.items():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "main.py")
            file.write_text(source)
            command = [python_path(), "-I", str(file)]
            calls = {"bare": lambda command=command: run_bare(command)} | {
                key: lambda sandbox=sandbox, source=source: run_ours(sandbox, "python", source)
                for key, sandbox in sandboxes.items()
            }
            median = in_turn(calls, repeats)
        ratio = {
            f"{key}_over_bare": round(value / median["bare"], 2)
            for key, value in median.items()
            if key != "bare"
        }
        found[name] = {"median_ms": median, **ratio}
    return found


def throughput(sandboxes: dict[str, Sandbox], runs: int) -> dict[str, Any]:
    """Return runs per second of the one-line program and of a bare Python, by number of threads."""
    found: dict[str, Any] = {}
    command = [python_path(), "-I", "-c", PYTHON["one line"]]
    calls = {
        key: lambda s=sandbox: run_ours(s, "python", PYTHON["one line"]) for key, sandbox in sandboxes.items()
    }
    for key, call in {"bare": lambda: run_bare(command), **calls}.items():
        found[key] = {}
        for threads in (1, 2, 4):
            with ThreadPoolExecutor(threads) as pool:
                start = time.perf_counter()
                for output in pool.map(lambda _, call=call: call(), range(runs)):
                    if output != EXPECTED:
                        raise RuntimeError(f"wrong output {output!r}")
                found[key][f"{threads} threads"] = round(runs / (time.perf_counter() - start), 1)
    return found


def languages(sandbox: Sandbox, repeats: int) -> dict[str, Any]:
    """Return milliseconds of compiling and running, in the sandbox and bare."""
    found = {}
    for name in LANGUAGES:
        try:
            toolchain = find_toolchain(name)
        except MissingToolchain:
            found[name] = None
            continue
        assert toolchain is not None
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, toolchain.source_name).write_text(PROGRAMS[name])
            calls = {
                "bare": lambda folder=folder, toolchain=toolchain: compile_and_run(folder, toolchain),
                "sandbox": lambda name=name: run_ours(sandbox, name, PROGRAMS[name]),
            }
            median = in_turn(calls, repeats)
            many = timed(lambda name=name: run_many(sandbox, name), EXPECTED * INPUTS)
            found[name] = {
                **median,
                "ratio": round(median["sandbox"] / median["bare"], 2),
                "compile_once_ms_per_input": round(many / INPUTS, 2),
            }
    return found


def run_ours(sandbox: Sandbox, language: str, source: str) -> bytes:
    return sandbox.run(language, source, STDIN).stdout


def run_many(sandbox: Sandbox, language: str) -> bytes:
    return b"".join(run.stdout for run in sandbox.run_many(language, PROGRAMS[language], [STDIN] * INPUTS))


def run_bare(command: Sequence[str], folder: str | None = None) -> bytes:
    return subprocess.run(command, input=STDIN, capture_output=True, cwd=folder, check=True).stdout


def compile_and_run(folder: str, toolchain: Toolchain) -> bytes:
    env = {**os.environ, **{name: value.replace("/tmp", folder) for name, value in toolchain.env.items()}}
    if toolchain.compile:
        subprocess.run(toolchain.compile, cwd=folder, env=env, capture_output=True, check=True)
    return run_bare(toolchain.run or [python_path(), "-I", toolchain.source_name], folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=60, help="of each Python program")
    parser.add_argument("--runs", type=int, default=600, help="for the throughput")
    parser.add_argument("--compiles", type=int, default=5)
    parser.add_argument("--name", default="sandbox_speed")
    args = parser.parse_args()
    settings = {
        "warm": SandboxSettings(),
        "cold": SandboxSettings(zygote=False),
        "warm, no cgroup": SandboxSettings(cgroups=False),
        "landlock": SandboxSettings(tier="landlock"),
    }
    sandboxes = {}
    for name, wanted in settings.items():
        try:
            sandboxes[name] = Sandbox.open(wanted)
        except SandboxUnavailable as error:
            print(f"{name}: {error}", file=sys.stderr)
    result = {
        "user": "root" if os.getuid() == 0 else "ordinary",
        "cgroup": sandboxes["warm"].tier.cgroup,
        "throughput_runs_per_s": throughput(sandboxes, args.runs),
        "latency": latency(sandboxes, args.repeats),
        "languages_ms": languages(sandboxes["warm"], args.compiles),
    }
    for sandbox in sandboxes.values():
        sandbox.close()
    print(json.dumps(result, indent=1))
    print(save(args.name, result))


if __name__ == "__main__":
    main()
