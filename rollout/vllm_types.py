"""What the classes mixed into vLLM's worker use of it, as types; vLLM's own classes differ from device to device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn


class ModelConfig(Protocol):
    """vLLM's config of a model."""

    model: str
    """The folder that it was loaded from."""


class ModelRunner(Protocol):
    """vLLM's model runner."""

    device: torch.device
    kv_caches: Sequence[Tensor]
    model_config: ModelConfig
    sampler: object

    def get_model(self) -> nn.Module:
        """Return the running model."""
