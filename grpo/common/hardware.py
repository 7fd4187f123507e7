"""Finds out what this machine computes well, without importing torch."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def has_gpu() -> bool:
    """Return True if the NVIDIA driver reports a device."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        return subprocess.run([tool, "-L"], capture_output=True, timeout=20).stdout.startswith(b"GPU")
    except (OSError, subprocess.SubprocessError):
        return False


def has_native_bfloat16() -> bool:
    """Return True if the CPU multiplies bfloat16 matrices in hardware (AVX512-BF16, AMX, or Arm's bf16)."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(flag in text for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def resolve_compute_dtype(setting: str, hidden_size: int, on_gpu: bool | None = None) -> str:
    """Return the dtype that policy.compute_dtype means: "float32" or "bfloat16".

    "auto" takes bfloat16 on a GPU, and on a CPU that multiplies it in hardware if the policy is wide enough (512) for
    it to be faster.

    Args:
        setting: the recipe's.
        hidden_size: of the policy.
        on_gpu: the actors compute on GPUs; None: they do if this machine has one.
    """
    if setting != "auto":
        return setting
    if on_gpu is None:
        on_gpu = has_gpu()
    return "bfloat16" if on_gpu or (hidden_size >= 512 and has_native_bfloat16()) else "float32"
