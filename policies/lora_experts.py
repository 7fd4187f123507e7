"""LoRA for routed experts: each expert's W gets its own B A beside the fused tensors of transformers.

    add_expert_adapters(model, rank=16, alpha=32)      the target "experts" of policies/lora.py
    delta(experts, "gate_up_proj")                     (E, 2I, D) (α/r) B A

peft's wrapper for fused tensors forms W + (α/r) B A of all experts in every forward and keeps it for the backward; here
the two small products stand beside the large one, as in a linear layer. The files are peft's (policies/adapters.py).

Axes: T tokens, K experts of a token, E experts of a layer, D model width, I expert width, r rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from policies.adapters import file_names
from policies.experts import ADAPTERS, FUSED
from policies.model import HfModel
from policies.shards import fill, local, whole

_A, _B = ADAPTERS


def expert_modules(model: nn.Module) -> Iterator[tuple[str, HfModel]]:
    """Yield name and module of the routed experts of every layer that has some."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.ParameterDict):  # the adapters' own
            continue
        if all(isinstance(getattr(module, tensor, None), nn.Parameter) for tensor in FUSED):
            yield name, module


def add_expert_adapters(layers: nn.Module, rank: int, alpha: float) -> None:
    """Add adapters to the routed experts of these layers, in place; on the meta device they have no values yet."""
    for _, experts in expert_modules(layers):
        pair: dict[str, dict[str, nn.Parameter]] = {_A: {}, _B: {}}
        for name in FUSED:
            base = getattr(experts, name)
            count, out, inner = base.shape
            for kind, shape in ((_A, (count, rank, inner)), (_B, (count, out, rank))):
                pair[kind][name] = nn.Parameter(torch.empty(shape, dtype=torch.float32, device=base.device))
        for kind, parameters in pair.items():
            experts.add_module(kind, nn.ParameterDict(parameters))
        experts.lora_scale = alpha / rank


@torch.no_grad()
def draw_expert_adapters(model: nn.Module) -> None:
    """Draw A as peft does, uniform within 1/√in, and set B to zero; the generator is the caller's."""
    for _, experts in adapted_experts(model):
        for name in FUSED:
            first = getattr(experts, _A)[name]
            count, rank, inner = first.shape
            drawn = nn.init.kaiming_uniform_(torch.empty(count * rank, inner), a=math.sqrt(5))
            fill(first, drawn.view(count, rank, inner))
            local(getattr(experts, _B)[name]).zero_()


def adapted_experts(model: nn.Module) -> Iterator[tuple[str, HfModel]]:
    """Yield name and module of the routed experts that have adapters."""
    return ((name, module) for name, module in expert_modules(model) if hasattr(module, _A))


def delta(experts: HfModel, name: str) -> Tensor:
    """Return (α/r) B A of one fused tensor, whole."""
    first, second = (whole(getattr(experts, kind)[name]) for kind in (_A, _B))
    product: Tensor = torch.bmm(second, first) * experts.lora_scale
    return product


def to_file(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the adapters by their names and in the layout of peft's files, each whole; a collective if divided."""
    for module, experts in adapted_experts(model):
        for name in FUSED:
            first, second = (whole(getattr(experts, kind)[name].detach()) for kind in (_A, _B))
            a, b = file_names(f"{module}.{name}")
            yield a, first.flatten(0, 1)
            yield b, second.permute(1, 2, 0).flatten(1)


def file_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of `to_file`, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for module, experts in adapted_experts(model):
        for name in FUSED:
            a, b = file_names(f"{module}.{name}")
            count, rank, inner = getattr(experts, _A)[name].shape
            shapes |= {a: (count * rank, inner), b: (getattr(experts, _B)[name].shape[1], rank * count)}
    return shapes


def from_file(model: nn.Module, saved: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each live tensor of the adapters, and its value in a file of fitting shapes."""
    for module, experts in adapted_experts(model):
        for name in FUSED:
            first, second = (getattr(experts, kind)[name] for kind in (_A, _B))
            a, b = file_names(f"{module}.{name}")
            yield first, saved[a].view(first.shape)
            count, out, rank = second.shape
            yield second, saved[b].view(out, rank, count).permute(2, 0, 1)
