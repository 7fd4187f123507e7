"""Routers of DeepSeek policies: float32 arithmetic, what they chose, V3's moving bias and V2's dropping.

    route_in_float32(model)                     autocast never reaches a router

    with RouterWatch(model) as watch:           hooks on every router; packed rows hold no padding to count
        watch.expect(sequences)
        … forward …
        watch.routed()                          logits and choices, for the losses of policies/balance.py
    update_router_bias(model, watch.counts, rate=0.001)

DeepSeek-V3 balances without an auxiliary loss (2412.19437 §2.1.2): after each step the bias of an overloaded expert
falls by γ and that of an underloaded one rises. The bias only chooses experts; it is no part of the weights. V2 has no
bias; it adds losses, and drops tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any  # of transformers' routers, which share no typed class

import torch
from torch import Tensor, nn

from policies.balance import within_capacity
from policies.context import own_sequences
from policies.model import causal_lm
from policies.mtp import mtp_layers

RouterOutput = tuple[Tensor, Tensor, Tensor]
"""Logits (T, E), weights (T, K) and chosen experts (T, K) int64 of a transformers router."""


@dataclass(frozen=True)
class Routed:
    """What one router did in a forward."""

    logits: Tensor
    """(T, E), with their graph."""
    chosen: Tensor
    """(T, K) int64 experts."""
    sequences: Tensor
    """(T,) int64, each token's sequence; -1 does not count."""


@dataclass(frozen=True)
class Dropping:
    """V2's token dropping (policies/balance.py, `within_capacity`)."""

    experts: int
    devices: int
    capacity: float


def route_in_float32(model: nn.Module) -> None:
    """Make every router compute logits, scores and weights in float32, under autocast too, on every device.

    transformers' routers (V2's softmax, V3's sigmoid) cast their input and weight to float32, but autocast
    casts both back to bfloat16 for the product, and scores that lie within bfloat16's resolution of each other
    then choose experts at random. The engine's router is float32 as well, its weights included: vLLM's own
    default is bfloat16 logits, see rollout/vllm_router.py. Without autocast the values stay bit for bit.
    """
    for _, router in routers(model):
        router.forward = MethodType(_float32_forward, router)


def _float32_forward(router: nn.Module, hidden_states: Tensor) -> RouterOutput:
    with torch.autocast(hidden_states.device.type, enabled=False):
        outputs: RouterOutput = type(router).forward(router, hidden_states)
        return outputs


class RouterWatch:
    """Sees every router's choices from construction until `close`: counts them, keeps them, drops above capacity.

    A forward that `expect` announced counts; others, such as the recomputation of a layer in the backward (gradient
    checkpointing), do not. Dropping goes on after `routed`, since a recomputed layer must drop the same.
    """

    def __init__(self, model: nn.Module, dropping: Dropping | None = None):
        """Set the hooks.

        Args:
            model: a policy; without routers nothing is ever seen.
            dropping: what each device may compute; None: all.
        """
        self.counts: dict[str, Tensor] = {}
        """(E,) int64 routed tokens by router name, before dropping."""
        self.dropped: dict[str, Tensor] = {}
        """0-d int64 (token, expert) pairs that were dropped, by router name."""
        self._model, self._dropping = model, dropping
        self._routed: list[Routed] = []
        self._sequences: Sequence[Tensor] | None = None
        self._exempt: Tensor | None = None
        self._counts_now = self._keeps = False
        self._hooks = []
        first = _main_layers(model)
        for name, router in routers(model):
            device = router.weight.device
            self.counts[name] = torch.zeros(router.weight.shape[0], dtype=torch.int64, device=device)
            self.dropped[name] = torch.zeros((), dtype=torch.int64, device=device)
            ahead = max(0, layer_number(name) - first + 1)
            self._hooks.append(router.register_forward_hook(self._seen(name, ahead)))

    def expect(self, sequences_T: Tensor, *, exempt_S: Tensor | None = None, keep: bool = False) -> None:
        """Announce the next forward.

        Args:
            sequences_T: int64, each token's sequence, of the whole row where ranks divide its tokens; -1 is a token
                that does not count and is never dropped: a prompt that is computed in several packs would count in
                each, so the load would depend on the packing.
            exempt_S: bool by sequence, those whose tokens are never dropped.
            keep: keep each router's output, with its graph, for `routed`.
        """
        depths = range(1 + len(mtp_layers(self._model)))
        self._sequences = [own_sequences(self._model, _those_with(sequences_T, k)) for k in depths]
        self._exempt = exempt_S
        self._counts_now, self._keeps = True, keep

    def routed(self) -> list[Routed]:
        """End the announced forward; returns what was kept of it, layer by layer."""
        kept, self._routed = self._routed, []
        self._counts_now = self._keeps = False
        return kept

    def clear(self) -> None:
        """Set all counts to zero."""
        for count in (*self.counts.values(), *self.dropped.values()):
            count.zero_()

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def __enter__(self) -> RouterWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _seen(
        self, name: str, ahead: int
    ) -> Callable[[nn.Module, tuple[Tensor, ...], RouterOutput], RouterOutput | None]:
        def see(_module: nn.Module, _inputs: tuple[Tensor, ...], output: RouterOutput) -> RouterOutput | None:
            if self._sequences is None:
                return None
            logits, weights, chosen = output
            sequences = self._sequences[ahead]
            kept = (
                None if self._dropping is None else self._within(self._dropping, weights, chosen, sequences)
            )
            if self._counts_now:
                total = self.counts[name]
                total += torch.bincount(chosen[sequences >= 0].flatten(), minlength=len(total))
                if kept is not None:
                    self.dropped[name] += (~kept).sum()
            if self._keeps:
                self._routed.append(Routed(logits, chosen, sequences))
            return None if kept is None else (logits, weights * kept, chosen)

        return see

    def _within(self, dropping: Dropping, weights: Tensor, chosen: Tensor, sequences: Tensor) -> Tensor:
        counted = sequences >= 0
        exempt = torch.zeros_like(counted) if self._exempt is None else self._exempt[sequences] & counted
        return within_capacity(
            weights,
            chosen,
            counted_T=counted,
            exempt_T=exempt,
            experts=dropping.experts,
            devices=dropping.devices,
            capacity=dropping.capacity,
        )


def _those_with(sequences: Tensor, ahead: int) -> Tensor:
    """Leave out the last `ahead` tokens of each sequence: a layer that reads tokens ahead predicts nothing there."""
    if not ahead:
        return sequences
    later = torch.cat([sequences[ahead:], sequences.new_full((min(ahead, len(sequences)),), -1)])
    return torch.where(later == sequences, sequences, -1)


def layer_number(name: str) -> int:
    """Return the index of the layer that a module's name says."""
    return int(name.split("layers.")[1].split(".")[0])


def _main_layers(model: nn.Module) -> int:
    """Return the number of layers before those of multi-token prediction."""
    return int(causal_lm(model).config.num_hidden_layers)


def routers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield name and module of every router of a DeepSeek V2 or V3 policy; none for a dense policy.

    Their forward returns a `RouterOutput`.
    """
    for name, module in model.named_modules():
        if type(module).__name__.endswith("TopkRouter"):
            yield name, module


def update_router_bias(model: nn.Module, loads: Mapping[str, Tensor], rate: float) -> None:
    """Add γ to the bias of experts below their layer's mean load, subtract it above the mean (V3 §2.1.2).

    Args:
        model: a policy; routers without a correction bias (V2) stay as they are.
        loads: `RouterWatch.counts` of the whole batch, summed over micro-batches and ranks.
        rate: γ (V3: 0.001 for 14.3T tokens, then 0).
    """
    with torch.no_grad():
        for name, router in routers(model):
            bias = getattr(router, "e_score_correction_bias", None)
            if bias is None:
                continue
            load = loads[name].to(bias.device, torch.float64)
            bias += rate * torch.sign(load.mean() - load).to(bias.dtype)


def load_violation(loads: Mapping[str, Tensor]) -> float:
    """Return the largest load over the layer's mean load, minus 1, averaged over layers (MaxVio); 0 is balanced."""
    if not loads:
        return 0.0
    found = torch.stack([load.max() / load.double().mean() - 1 for load in loads.values()]).tolist()
    violations = [value for value in found if value == value]  # NaN: no token came to the layer
    return sum(violations) / len(violations) if violations else 0.0
