"""What learner, driver and engines exchange about weights. No torch is imported here: the driver loads none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rollout.canary import Canary


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
    note: str = ""
    """What the user should know about `path`: that the first choice had no room."""


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
