"""Finds published tensors in the engine's own parameters, bit for bit, after vLLM has loaded and fused them.

Where a tensor went is asked of vLLM's own weight loader: it loads the numbers 1, 2, 3, … into a parameter of the same
shape, so that every position of the parameter says which element of the tensor stands there. This holds for fused
parameters (q, k, v; gate, up; experts) and for the slices of tensor parallelism alike. A parameter that vLLM keeps in a
packed form only, as oneDNN's and the experts' on a CPU, cannot be compared; its tensors are named in `packed`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from typing import Any  # of vLLM's weight loaders, which are not typed

import torch
from torch import Tensor, nn

_SAME_SIZE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers to compare bits by, by bytes of an element."""


@dataclass(frozen=True)
class LoaderCall:
    """One call of a weight loader."""

    name: str
    """Of the published tensor."""
    weight: Tensor
    layer: nn.Module
    parameter_name: str
    """Of the layer's parameter that the loader writes to."""
    parameter: Tensor
    """That parameter during the load: on the meta device where vLLM packs the layer later."""
    loader: Callable[..., object]
    arguments: tuple[object, ...]
    keywords: Mapping[str, object]


class ReadBack:
    """Compares the chosen tensors of one stream."""

    def __init__(self, chosen: Container[str]) -> None:
        """Take the names of the tensors to find."""
        self.problems: list[str] = []
        """A line for every tensor that the engine does not hold."""
        self.equal: set[str] = set()
        """Tensors that were found."""
        self.packed: set[str] = set()
        """Tensors that cannot be compared."""
        self._chosen = chosen
        self._calls: dict[tuple[nn.Module, str], list[LoaderCall]] = {}

    def note(self, call: LoaderCall) -> None:
        """Remember a loader's call, for `compare`."""
        if call.name in self._chosen:
            self._calls.setdefault((call.layer, call.parameter_name), []).append(call)

    def compare(self) -> None:
        """Compare the tensors of every layer that vLLM has finished; those of other layers are copied and wait."""
        from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info

        waiting: dict[tuple[nn.Module, str], list[LoaderCall]] = {}
        for (layer, name), calls in self._calls.items():
            live = getattr(layer, name, None)
            if get_layerwise_info(layer).can_load() and (live is None or live.is_meta):
                waiting[layer, name] = [replace(call, weight=call.weight.clone()) for call in calls]
            elif live is None or live.shape != calls[0].parameter.shape or _is_repacked(layer, live):
                self.packed |= {call.name for call in calls}
            else:
                self._compare(live, calls)
        self._calls = waiting

    def _compare(self, live: Tensor, calls: list[LoaderCall]) -> None:
        sizes = [call.weight.numel() for call in calls]
        origin = _origins(calls, live)
        if origin is None:
            self.packed |= {call.name for call in calls}
            return
        sent = torch.cat([call.weight.reshape(-1).to(live.device, live.dtype) for call in calls])
        held = live.detach().reshape(-1)
        filled = origin >= 0
        if not bool(filled.all()):  # rows of padding, or of another rank's experts
            origin, held = origin[filled], held[filled]
        same_size = _SAME_SIZE[live.element_size()]
        differs = sent[origin].view(same_size) != held.view(same_size)
        ends = torch.tensor(sizes).cumsum(0)
        wrong = torch.bucketize(origin[differs].cpu(), ends, right=True).bincount(minlength=len(calls))
        for call, size, count in zip(calls, sizes, wrong.tolist(), strict=True):
            if count:
                self.problems.append(
                    f"{call.name}: {count:,} of {size:,} elements in the engine are not those that were sent"
                )
            else:
                self.equal.add(call.name)


def _origins(calls: list[LoaderCall], live: Tensor) -> Tensor | None:
    """Return, for every element of a parameter, its position in the tensors that were loaded, laid end to end.

    -1 stands for padding, which loaders fill with zeros. None: the loader computes with the values that it loads, so
    that they are not to be found again.
    """
    total = sum(call.weight.numel() for call in calls)
    kind = torch.int32 if total < 2**31 - 1 else torch.int64
    parameter = calls[0].parameter
    scratch = torch.zeros(tuple(parameter.shape), dtype=kind, device=live.device)
    scratch.__class__ = parameter.__class__
    scratch.__dict__ = parameter.__dict__.copy()
    start = 1
    for call in calls:
        end = start + call.weight.numel()
        numbers = torch.arange(start, end, dtype=kind, device=live.device).reshape(call.weight.shape)
        _plain_loader(call.loader)(scratch, numbers, *call.arguments, **call.keywords)
        start = end
    origin = scratch.data.reshape(-1).to(torch.int64) - 1
    if origin.numel() and not -1 <= int(origin.min()) <= int(origin.max()) < total:
        return None
    return origin


def _plain_loader(loader: Callable[..., object]) -> Callable[..., object]:
    """Return vLLM's loader below the one that defers the load until the layer is complete."""
    while getattr(loader, "__name__", "") == "online_process_loader":
        loader = loader.__wrapped__  # type: ignore[attr-defined]
    return loader


def _is_repacked(layer: nn.Module, live: Tensor) -> bool:
    """Return True for experts on a CPU, whose kernel packs them in another order into the same shape."""
    method: Any = getattr(layer, "quant_method", None)
    return live.device.type == "cpu" and getattr(method, "moe_kernel", None) is not None
