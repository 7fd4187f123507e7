"""Finds published tensors in the engine's own parameters, bit for bit, after vLLM has loaded and fused them.

Where a tensor went is asked of vLLM's own weight loader: it loads the tensors once more, into a copy of the parameter,
which must not change by that. This holds for fused parameters (q, k, v; gate, up; experts) and for the
slices of tensor parallelism alike. Where it changes, the loader puts the numbers 1, 2, 3, … into zeros, so that
every position says which element of which tensor stands there, and the tensors that differ are named.

Of a matrix that vLLM keeps in a packed form only, as oneDNN's on a CPU, some columns are compared: its product with a
vector of one 1 and zeros is a column, exactly. The columns change from load to load. What is packed in another way, as
the experts on a CPU, cannot be compared. The tensors of both are named in `packed`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from typing import Any  # of vLLM's weight loaders, which are not typed

import torch
from torch import Tensor, nn

_SAME_SIZE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers to compare bits by, by bytes of an element."""
_TURNED_INTO_OTHERS = ".kv_b_proj.weight"
"""MLA absorbs it into two matrices of its own."""
COLUMNS = 8
"""Columns of a packed matrix that are compared at a time."""
_BLOCK = 1 << 20
"""Elements that are compared at a time, so that their positions take no second copy of a large tensor."""


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

    def __init__(self, chosen: Container[str], turn: int = 0) -> None:
        """Take the names of the tensors to find, and a number by which the columns of packed ones change."""
        self.problems: list[str] = []
        """A line for every tensor that the engine does not hold."""
        self.equal: set[str] = set()
        """Tensors that were found."""
        self.packed: set[str] = set()
        """Tensors that the engine keeps in a packed form: some columns are compared, or nothing."""
        self.uncovered: set[str] = set()
        """Tensors of which nothing could be compared, or from which vLLM computes others, that nothing compares."""
        self._chosen, self._turn = chosen, turn
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
            self.uncovered |= {call.name for call in calls if call.name.endswith(_TURNED_INTO_OTHERS)}
            live = getattr(layer, name, None)
            if get_layerwise_info(layer).can_load() and (live is None or live.is_meta):
                waiting[layer, name] = [replace(call, weight=call.weight.clone()) for call in calls]
            elif live is None or live.shape != calls[0].parameter.shape or _is_repacked(layer, live):
                self.packed |= {call.name for call in calls}
                if multiply := _packed_product(layer, name, calls):
                    self._compare_columns(multiply, calls)
                else:
                    self.uncovered |= {call.name for call in calls}
            else:
                self._compare(live.detach(), calls)
        self._calls = waiting

    def _compare(self, live: Tensor, calls: list[LoaderCall]) -> None:
        # A parameter may have parts of other tensors: the loader writes over a copy of it.
        if _same_bits(live, _as_loaded(calls, live.clone())):
            self.equal |= {call.name for call in calls}
            return
        place = _places(calls, live.device)
        sent = _end_to_end(calls, live)
        wrong = torch.zeros(len(calls), dtype=torch.int64)
        flat = live.reshape(-1)
        for start in range(0, len(flat), _BLOCK):
            block = slice(start, start + _BLOCK)
            wrong += _differences(sent, place[block], flat[block], calls)
        self._judge(calls, wrong)

    def _compare_columns(self, multiply: Callable[[Tensor], Tensor], calls: list[LoaderCall]) -> None:
        parameter = calls[0].parameter
        rows, width = parameter.shape
        columns = chosen_columns(width, self._turn)
        ones = torch.zeros(len(columns), width, dtype=parameter.dtype)
        ones[torch.arange(len(columns)), columns] = 1
        held = multiply(ones).T.contiguous()
        sent, other = (
            _as_loaded(calls, torch.full((rows, width), fill, dtype=held.dtype))[:, columns]
            for fill in (0, 1)
        )
        if bool(((held == sent) | (sent != other)).all()):  # what differs was not loaded
            return
        places = _places(calls, held.device).view(rows, width)[:, columns].reshape(-1)
        # A product turns −0 into 0.
        differences = _differences(_end_to_end(calls, held) + 0, places, held.reshape(-1) + 0, calls)
        self._judge(calls, differences)

    def _judge(self, calls: list[LoaderCall], wrong: Tensor) -> None:
        if not wrong.any():  # the loader computes with what it loads, so that no element can be found again
            self.problems += [f"{call.name}: the engine does not hold what it makes of it" for call in calls]
        for call, count in zip(calls, wrong.tolist(), strict=True):
            if count:
                self.problems.append(
                    f"{call.name}: {count:,} of {call.weight.numel():,} elements in the engine are not those that "
                    "were sent"
                )


def chosen_columns(width: int, turn: int) -> Tensor:
    """Return which columns of a packed matrix are compared; turn after turn they come to all columns."""
    count = min(COLUMNS, width)
    return (torch.arange(count) * (width // count) + turn) % width


def _packed_product(
    layer: nn.Module, parameter_name: str, calls: list[LoaderCall]
) -> Callable[[Tensor], Tensor] | None:
    """Return x ↦ x Wᵀ of a matrix that vLLM has packed for a CPU; None for what is packed in another way."""
    multiply: Callable[[Tensor, Tensor, None], Tensor] | None = getattr(layer, "cpu_linear", None)
    if multiply is None or parameter_name != "weight" or calls[0].parameter.ndim != 2:
        return None
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return lambda x: multiply(x, weight, None)


def _same_bits(first: Tensor, second: Tensor) -> bool:
    if (first.shape, first.dtype, first.device) != (second.shape, second.dtype, second.device):
        return False
    kind = _SAME_SIZE[first.element_size()]
    return torch.equal(first.contiguous().view(kind), second.contiguous().view(kind))


def _end_to_end(calls: list[LoaderCall], like: Tensor) -> Tensor:
    """Return the tensors that were sent, in the engine's type and place, laid end to end."""
    flat = [call.weight.reshape(-1).to(like.device, like.dtype) for call in calls]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


def _differences(sent: Tensor, places: Tensor, held: Tensor, calls: list[LoaderCall]) -> Tensor:
    """Return for each tensor how many of these elements differ from what was sent.

    Args:
        sent: the tensors end to end.
        places: for each element 1 plus its position in `sent`; 0 for those that nothing was loaded into.
        held: the engine's elements.
        calls: one for each tensor.
    """
    filled = (places > 0) & (places <= len(sent))
    if not bool(filled.all()):
        places, held = places[filled], held[filled]
    origin = places.to(torch.int64) - 1
    same_size = _SAME_SIZE[held.element_size()]
    differs = sent[origin].view(same_size) != held.view(same_size)
    ends = torch.tensor([call.weight.numel() for call in calls]).cumsum(0)
    return torch.bucketize(origin[differs].cpu(), ends, right=True).bincount(minlength=len(calls))


def _as_loaded(calls: list[LoaderCall], values: Tensor) -> Tensor:
    """Return these values of a parameter once vLLM's loader has put the tensors into them."""
    scratch = _like_parameter(calls, values)
    for call in calls:
        _plain_loader(call.loader)(scratch, call.weight, *call.arguments, **call.keywords)
    return scratch.data


def _places(calls: list[LoaderCall], device: torch.device) -> Tensor:
    """Return, for every element of a parameter, 1 plus its position in the tensors that were loaded, laid end to end.

    0 stands for padding and rows of another rank.
    """
    total = sum(call.weight.numel() for call in calls)
    kind = torch.int32 if total < 2**31 - 1 else torch.int64
    scratch = _like_parameter(calls, torch.zeros(tuple(calls[0].parameter.shape), dtype=kind, device=device))
    start = 1
    for call in calls:
        end = start + call.weight.numel()
        numbers = torch.arange(start, end, dtype=kind, device=device).reshape(call.weight.shape)
        _plain_loader(call.loader)(scratch, numbers, *call.arguments, **call.keywords)
        start = end
    return scratch.data.reshape(-1)


def _like_parameter(calls: list[LoaderCall], values: Tensor) -> Tensor:
    """Make values one of the parameter's class, for its loader to write to."""
    parameter = calls[0].parameter
    values.__class__ = parameter.__class__
    values.__dict__ = parameter.__dict__.copy()
    return values


def _plain_loader(loader: Callable[..., object]) -> Callable[..., object]:
    """Return vLLM's loader below the one that defers the load until the layer is complete."""
    while getattr(loader, "__name__", "") == "online_process_loader":
        loader = loader.__wrapped__  # type: ignore[attr-defined]
    return loader


def _is_repacked(layer: nn.Module, live: Tensor) -> bool:
    """Return True for experts on a CPU, whose kernel packs them in another order into the same shape."""
    method: Any = getattr(layer, "quant_method", None)
    return live.device.type == "cpu" and getattr(method, "moe_kernel", None) is not None
