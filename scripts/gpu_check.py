"""Checks one NVIDIA GPU in under 8 minutes: does the learner compute there what it computes on a CPU, and how fast?

    make gpu-check                                        # both parts; the result goes to build/gpu_check.json
    python scripts/gpu_check.py --part learner            # torch and transformers suffice: no Ray, no vLLM
    python scripts/gpu_check.py --device cpu --shape tiny # the same checks without a GPU: they test the script

Part "learner": attention against a dense oracle in float64, fused against plain; an update of small policies against
the CPU's; moments in the host's memory; waits for the GPU in an update; tokens/s, model FLOP utilisation and peak
memory of a dense 1.5 B policy at 4,096 tokens, against a bare matrix product and against `grpo plan`.
Part "engine": vLLM's log-probs against the learner's, before and after a weight update; two RL steps.

Each check is a process with a deadline of its own, so that one that crashes or hangs does not take the others along.
The exit code is 1 if one of them fails. Never run on hardware.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from gpu_result import Check  # noqa: E402  (scripts/ is no package)

BUDGET_S = 470.0
PARTS = {"learner": ("attention", "update", "moments", "speed"), "engine": ("parity", "rl")}
"""Checks by part: functions of gpu_learner.py and gpu_engine.py."""
LIMIT_S = {"attention": 60, "update": 60, "moments": 45, "speed": 120, "parity": 150, "rl": 150}
"""Seconds of each check; together with those before it no more than BUDGET_S."""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--shape", choices=["1.5b", "tiny"], default="1.5b")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu_check.json")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args(words)
    if args.one:
        part = next(part for part, names in PARTS.items() if args.one in names)
        check = getattr(importlib.import_module(f"gpu_{part}"), args.one)
        print("\n" + json.dumps(asdict(check(args.device, args.shape))), flush=True)
        return 0
    described = describe(args.device)
    if described is None:
        print(
            "gpu-check: torch sees no GPU (`grpo doctor` says why); --device cpu --shape tiny tests the script"
        )
        return 1
    print(described, flush=True)
    started, found = time.monotonic(), []
    for part in PARTS if args.part == "all" else [args.part]:
        for name in PARTS[part]:
            left = BUDGET_S - (time.monotonic() - started)
            check = in_own_process(name, args.device, args.shape, min(left, LIMIT_S[name]))
            verdict = "ok  " if check.ok else "FAIL"
            print(f"{verdict} {check.name:10s} {check.seconds:4.0f} s  {check.text}", flush=True)
            found.append(check)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        json.dumps({"machine": described, "checks": [asdict(c) for c in found]}, indent=1) + "\n"
    )
    print(f"{sum(c.ok for c in found)} of {len(found)} checks pass; figures in {args.out}")
    return int(not all(c.ok for c in found))


def describe(device: str) -> str | None:
    """Return the machine in a line; None where `device` is a GPU and torch sees none."""
    code = (
        "import torch, platform; c = torch.cuda; g = c.is_available();"
        "print(torch.__version__, (c.get_device_name() + ', capability %d.%d' % c.get_device_capability()"
        " + f', {c.mem_get_info()[1] / 2**30:.0f} GiB') if g else platform.processor() or 'CPU', int(g), sep='|')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, name, has_gpu = done.stdout.strip().splitlines()[-1].split("|")
    return None if device == "cuda" and has_gpu == "0" else f"{name}; torch {version}"


def in_own_process(name: str, device: str, shape: str, limit_s: float) -> Check:
    """Run one check in a new process, at most `limit_s` seconds."""
    command = [sys.executable, __file__, "--one", name, "--device", device, "--shape", shape]
    start = time.monotonic()
    # A session of its own, so that a check that hangs ends with everything it has started.
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, errors = child.communicate(timeout=max(limit_s, 1.0))
        lines = [line for line in out.splitlines() if line.startswith('{"name"')]
        if child.returncode == 0 and lines:
            check = Check(**json.loads(lines[-1]))
        else:
            last = (errors.strip().splitlines() or ["no message"])[-1]
            check = Check(name, False, f"ended with {child.returncode}: {last}")
    except subprocess.TimeoutExpired:
        check = Check(name, False, f"not done after {limit_s:.0f} s")
        end(child)
    check.seconds = round(time.monotonic() - start, 1)
    return check


def end(child: subprocess.Popen[str]) -> None:
    """Ask a check and its children to stop; kill what is left after 15 s."""
    for sign, wait_s in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        try:
            os.killpg(child.pid, sign)
            child.communicate(timeout=wait_s)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


if __name__ == "__main__":
    sys.exit(main())
