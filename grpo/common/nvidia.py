"""NVIDIA GPUs as nvidia-smi lists them, and what a version of CUDA asks of them. No torch, no CUDA."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

OLDEST_DRIVER = {12: "525.60.13", 13: "580.65.06"}
"""Oldest Linux driver that runs every minor version of a CUDA major version (CUDA Toolkit release notes, "CUDA Toolkit
and Minimum Required Driver Version for CUDA Minor Version Compatibility")."""
OLDEST_CAPABILITY = {12: (5, 0), 13: (7, 5)}
"""Oldest compute capability a CUDA major version generates code for: 13 dropped Maxwell, Pascal and Volta."""
BFLOAT16_CAPABILITY = (8, 0)
"""Oldest compute capability that multiplies bfloat16 in hardware (Ampere)."""
QUERY_TIMEOUT_S = 30
_FIELDS = ("name", "memory.total", "driver_version", "compute_cap")


@dataclass(frozen=True)
class Gpu:
    """One device; `capability` is None where the driver does not report it, `memory` is nvidia-smi's text."""

    name: str
    memory: str
    driver: str
    capability: tuple[int, int] | None


@dataclass(frozen=True)
class Problem:
    """What stands between the GPUs and the locked CUDA build, and how to fix it."""

    found: str
    fix: str
    fatal: bool = True


class QueryError(RuntimeError):
    """nvidia-smi is there and does not answer as expected; the message holds its output."""


def query() -> list[Gpu]:
    """The GPUs of this machine; QueryError if nvidia-smi does not list them.

    Drivers before 470 or so do not know the field compute_cap; they are asked again without it.
    """
    done = _run(_FIELDS)
    if done.returncode and "compute_cap" in done.stdout + done.stderr:
        done = _run(_FIELDS[:-1])
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or not lines:
        output = (done.stdout + done.stderr).strip()
        raise QueryError(output or f"nvidia-smi printed nothing, exit status {done.returncode}")
    return [_parse(line) for line in lines]


def problems(gpus: Sequence[Gpu], cuda: str) -> list[Problem]:
    """What keeps CUDA `cuda` ("13.0") from these GPUs: the driver first, then each device that is too old."""
    major = int(cuda.partition(".")[0])
    found: list[Problem] = []
    if major not in OLDEST_DRIVER:
        known = ", ".join(map(str, OLDEST_DRIVER))
        text = f"no driver and compute capability on record for CUDA {cuda} (known: {known})"
        return [Problem(text, "add them to grpo/common/nvidia.py, from the CUDA release notes", fatal=False)]
    needed = OLDEST_DRIVER[major]
    for driver in sorted({gpu.driver for gpu in gpus}):
        if _numbers(driver) < _numbers(needed):
            text = f"driver {driver} is too old for the locked CUDA {cuda}, which needs {needed} or newer"
            found.append(Problem(text, f"install NVIDIA driver {needed} or newer, then restart the machine"))
    oldest = OLDEST_CAPABILITY[major]
    for index, gpu in enumerate(gpus):
        if gpu.capability is None:
            continue
        has = f"GPU {index} ({gpu.name}) has compute capability {_dotted(gpu.capability)}"
        if gpu.capability < oldest:
            fix = "hide it with CUDA_VISIBLE_DEVICES, or make install DEVICE=cpu"
            found.append(Problem(f"{has}; CUDA {cuda} needs {_dotted(oldest)} or newer", fix))
        elif gpu.capability < BFLOAT16_CAPABILITY:
            fix = 'set policy.compute_dtype = "float32"'
            found.append(Problem(f"{has}: no bfloat16 in hardware", fix, fatal=False))
    return found


def describe(gpus: Sequence[Gpu]) -> str:
    """The devices, alike ones counted: "8 × NVIDIA H100, 81559 MiB, compute capability 9.0; driver 580.65.06"."""
    kinds: dict[str, int] = {}
    for gpu in gpus:
        capability = "" if gpu.capability is None else f", compute capability {_dotted(gpu.capability)}"
        kind = f"{gpu.name}, {gpu.memory}{capability}"
        kinds[kind] = kinds.get(kind, 0) + 1
    listed = "; ".join(kind if number == 1 else f"{number} × {kind}" for kind, number in kinds.items())
    return f"{listed}; driver {', '.join(sorted({gpu.driver for gpu in gpus}))}"


def _run(fields: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=QUERY_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise QueryError(f"nvidia-smi: {error}") from error


def _parse(line: str) -> Gpu:
    parts = [part.strip() for part in line.split(",")]
    if len(parts) < 3 or not re.fullmatch(r"\d+(\.\d+)+", parts[2]):
        raise QueryError(f"nvidia-smi printed {line!r}; expected {', '.join(_FIELDS)}")
    match = re.fullmatch(r"(\d+)\.(\d+)", parts[3]) if len(parts) > 3 else None
    capability = (int(match[1]), int(match[2])) if match else None
    return Gpu(name=parts[0], memory=parts[1], driver=parts[2], capability=capability)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
