"""What learner, driver and engines tell each other about weights. Light: no torch, for the driver has none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rollout.canary import Canary

SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class TensorEntry:
    """What must arrive under one name."""

    dtype: str
    """safetensors' name, e.g. "BF16"."""
    shape: tuple[int, ...]
    digest: str
    """`digest` of the tensor."""


@dataclass(frozen=True)
class Publication:
    """One version of the policy, ready to be loaded. Small unless `inline` holds the bytes."""

    version: int
    manifest: Mapping[str, TensorEntry]
    """By Hugging Face checkpoint name."""
    canary: tuple[Canary, ...] = ()
    path: str | None = None
    """safetensors file on this node …"""
    inline: np.ndarray | None = None
    """… or its bytes, (bytes,) uint8."""


@dataclass(frozen=True)
class SyncReport:
    """What an engine answers after a load that is proven."""

    version: int
    tensors: int
    seconds: float
    canary_max_gap: float
    """Largest |Δ log-prob| over the canary's tokens; nan without a canary."""
    canary_mean_gap: float


def shared_memory_dir(name: str) -> Path:
    """A folder for `publish`: in shared memory where there is some, else among temporary files."""
    root = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(os.environ.get("TMPDIR", "/tmp"))
    return root / name


def unpublish(directory: Path) -> None:
    """Remove what `publish` left, at the end of a run."""
    shutil.rmtree(directory, ignore_errors=True)
