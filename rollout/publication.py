"""What learner, driver and engines exchange about weights. No torch is imported here: the driver loads none."""

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
    """Dtype, shape and digest of one published tensor."""

    dtype: str
    """safetensors' name, e.g. "BF16"."""
    shape: tuple[int, ...]
    digest: str
    """Result of `rollout.weights.digest` for the tensor."""


@dataclass(frozen=True)
class Publication:
    """One version of the policy's weights, ready to be loaded. The object is small unless `inline` holds the bytes."""

    version: int
    manifest: Mapping[str, TensorEntry]
    """Entries by Hugging Face checkpoint name."""
    canary: tuple[Canary, ...] = ()
    path: str | None = None
    """Path of a safetensors file on this node; None with `inline`."""
    inline: np.ndarray | None = None
    """Bytes of such a file, (N,) uint8; None with `path`."""


@dataclass(frozen=True)
class SyncReport:
    """What an engine returns after a verified load of weights."""

    version: int
    tensors: int
    seconds: float
    canary_max_mismatch: float
    """Largest |Δ log-prob| over the canary's tokens, in nats; nan without a canary."""
    canary_mean_mismatch: float
    """Mean |Δ log-prob| over the canary's tokens, in nats."""


def shared_memory_dir(name: str) -> Path:
    """Return a folder for `publish`: in shared memory where it is writable, else among temporary files."""
    root = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(os.environ.get("TMPDIR", "/tmp"))
    return root / name


def unpublish(directory: Path) -> None:
    """Delete the files of `publish`, at the end of a run."""
    shutil.rmtree(directory, ignore_errors=True)
