"""Checkpoint of a pre-training run: one safetensors file that is replaced whole, so it is always complete.

Weights, buffers and Adam's moments as tensors, the counters as JSON in the header.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from grpo.common.errors import BrokenRun
from policies.files import replacing


@dataclass(frozen=True)
class PretrainState:
    """The counters of a run."""

    step: int = 0
    """Updates done."""
    decay_from: int | None = None
    """Step at which the decay began; None before."""
    tokens: int = 0
    """Corpus tokens read."""
    seconds: float = 0.0
    """Wall time of all calls so far."""
    attempt: int = 0
    """Starts from new weights before this one."""
    attempt_from: int = 0
    """Step at which this attempt began."""


def save_state(path: Path, state: PretrainState, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the checkpoint atomically."""
    # Clones: safetensors refuses tensors that share memory, as tied embeddings do.
    tensors = {f"model.{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in moments.items()}
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(contiguous, temporary, metadata={"state": json.dumps(asdict(state))})


def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> PretrainState:
    """Put a checkpoint's tensors into model and optimizer.

    Raises:
        BrokenRun: the file is damaged or belongs to another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = PretrainState(**json.loads(file.metadata()["state"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model.load_state_dict(
            {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
        )
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BrokenRun(f"{path}: not a checkpoint of this run ({error}); delete it to start over") from error
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            moments.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return state
