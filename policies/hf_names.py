"""A policy's tensors under the names of Hugging Face checkpoints, for weight updates and exports.

transformers keeps a layer's experts fused in memory; checkpoints and engines have one tensor per expert. The
latter are views of the fused storage, so nothing is copied:

    ….mlp.experts.gate_up_proj (E, 2I, D)  →  ….mlp.experts.0.gate_proj.weight (I, D), ….0.up_proj.weight, …
    ….mlp.experts.down_proj    (E, D, I)   →  ….mlp.experts.0.down_proj.weight (D, I), …
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from policies.errors import BrokenCheckpoint
from policies.lora import frozen_state, has_adapters, plain_rows, plain_state
from policies.model import tied_names
from policies.mtp import is_shared_copy
from policies.shards import DividedRows, fill

_GATE_UP = ".experts.gate_up_proj"
_DOWN = ".experts.down_proj"
GatheredT = TypeVar("GatheredT")


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of a checkpoint, in an order that depends on the architecture only.

    Persistent buffers such as `e_score_correction_bias` are included, a tied head is not. The tensors are detached
    views of the live weights: copy those that must outlive the next optimizer step. LoRA adapters are merged, and
    merged tensors are new memory. Of a policy that is divided over ranks each tensor is gathered when its turn comes:
    all ranks run through the iterator together.
    """
    return _named(model, plain_state(model))


def named_rows(model: nn.Module) -> Iterator[tuple[str, Tensor | DividedRows]]:
    """Yield what `named_tensors` yields, for a file: large matrices by rows, where the policy is divided over ranks."""
    return _named(model, plain_rows(model))


def base_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what `named_tensors` yields, without the adapters and in the dtypes in which it is stored."""
    return _named(model, frozen_state(model))


def _named(
    model: nn.Module, state: Iterable[tuple[str, GatheredT]]
) -> Iterator[tuple[str, Tensor | GatheredT]]:
    tied = tied_names(model)
    for name, tensor in state:
        if name in tied:
            continue
        if name.endswith(_GATE_UP) and isinstance(tensor, Tensor):
            prefix = name.removesuffix("gate_up_proj")
            for expert, fused in enumerate(tensor):
                gate, up = fused.chunk(2)
                yield f"{prefix}{expert}.gate_proj.weight", gate
                yield f"{prefix}{expert}.up_proj.weight", up
        elif name.endswith(_DOWN) and isinstance(tensor, Tensor):
            prefix = name.removesuffix("down_proj")
            for expert, weight in enumerate(tensor):
                yield f"{prefix}{expert}.down_proj.weight", weight
        else:
            yield name, tensor


def load_named_tensors(model: nn.Module, mapping: Mapping[str, Tensor]) -> None:
    """Copy a checkpoint's tensors into the live weights of a model without LoRA adapters, either all or none.

    Raises:
        BrokenCheckpoint: a name is missing or unknown, or a shape differs; nothing is changed then.
    """
    assert not has_adapters(model), "merged weights cannot be copied into adapters: load the adapter"
    mapping = {name: tensor for name, tensor in mapping.items() if not is_shared_copy(name)}
    tied = tied_names(model)
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    own = {part: shape for name, tensor in state.items() for part, shape in _parts(name, tensor.shape)}
    missing = [name for name in own if name not in mapping]
    unknown = [name for name in mapping if name not in own]
    if missing or unknown:
        raise BrokenCheckpoint(
            f"tensors do not fit the model: {len(missing)} missing {missing[:3]}, "
            f"{len(unknown)} unknown {unknown[:3]}"
        )
    for name, shape in own.items():
        if mapping[name].shape != shape:
            raise BrokenCheckpoint(
                f"{name} has shape {tuple(mapping[name].shape)}, the model's is {tuple(shape)}"
            )
    for name, tensor in state.items():
        fill(tensor, _fused(name, tensor.shape, mapping))


def _parts(name: str, shape: torch.Size) -> Iterator[tuple[str, torch.Size]]:
    """Yield names and shapes in a checkpoint of a tensor of the model."""
    if name.endswith(_GATE_UP):
        prefix, (experts, rows, columns) = name.removesuffix("gate_up_proj"), shape
        for expert in range(experts):
            for part in ("gate", "up"):
                yield f"{prefix}{expert}.{part}_proj.weight", torch.Size((rows // 2, columns))
    elif name.endswith(_DOWN):
        prefix = name.removesuffix("down_proj")
        for expert in range(shape[0]):
            yield f"{prefix}{expert}.down_proj.weight", shape[1:]
    else:
        yield name, shape


def _fused(name: str, shape: torch.Size, mapping: Mapping[str, Tensor]) -> Tensor:
    """Return a tensor of the model, whole, from its parts in a checkpoint."""
    parts = [mapping[part] for part, _ in _parts(name, shape)]
    return parts[0] if len(parts) == 1 and parts[0].shape == shape else torch.cat(parts).view(shape)
