"""Policies with LoRA adapters that change them, and what engines add them to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from policies.hf_names import base_tensors
from policies.load import load_policy
from policies.lora import add_adapters
from policies.mtp import is_mtp_tensor
from rollout.adapter_base import AdapterBase, BaseTensor
from rollout.wire import DTYPE_NAMES, digest

SCALE = 2.0


def with_adapters(folder: Path, targets: Sequence[str]) -> Any:
    """Load a policy and add random adapters, B included."""
    model: Any = load_policy(folder)
    add_adapters(model, 4, 4 * SCALE, targets, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.1, generator=generator)
    return model


def base_of(model: Any, dtype: str = "float32") -> AdapterBase:
    """Return what the adapters of a policy are added to."""
    main = model.config.num_hidden_layers
    found = {
        name: BaseTensor(DTYPE_NAMES[tensor.dtype], digest(tensor))
        for name, tensor in base_tensors(model)
        if not is_mtp_tensor(name, main)
    }
    return AdapterBase(SCALE, dtype, found)
