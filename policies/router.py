"""Routers of DeepSeek policies: float32 arithmetic, load of the experts, and V3's two ways of balancing it.

    route_in_float32(model)                     autocast never reaches a router

    with ExpertLoads(model) as loads:           hooks on every router; packed rows hold no padding to count
        … forward and backward …
    update_router_bias(model, loads.counts, rate=0.001)

DeepSeek-V3 balances without an auxiliary loss (2412.19437 §2.1.2): after each step the bias of an overloaded expert
falls by γ and that of an underloaded one rises. The bias only chooses experts; it is no part of the weights. A small
sequence-wise loss is added to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MethodType
from typing import Any  # of transformers' routers, which share no typed class

import torch
from torch import Tensor, nn

RouterOutput = tuple[Tensor, Tensor, Tensor]
"""Logits (T, E), weights (T, K) and chosen experts (T, K) int64 of a transformers router."""


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


class ExpertLoads:
    """Counts the tokens that each expert of each MoE layer gets, from construction until `close`.

    A layer that is recomputed in the backward (gradient checkpointing) counts twice. `update_router_bias` only reads
    which loads exceed the mean, and that stays the same.
    """

    def __init__(self, model: nn.Module):
        self.counts: dict[str, Tensor] = {}
        """(E,) int64 routed tokens by router name."""
        self.token_mask: Tensor | None = None
        """(T,) bool, the tokens of the next forwards that count; None counts all. A prompt that is computed in several
        packs would count in each of them, so the load would depend on the packing."""
        self._hooks = []
        for name, router in routers(model):
            self.counts[name] = torch.zeros(
                router.weight.shape[0], dtype=torch.int64, device=router.weight.device
            )
            self._hooks.append(router.register_forward_hook(self._counter(name)))

    def clear(self) -> None:
        """Set all counts to zero."""
        for count in self.counts.values():
            count.zero_()

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def __enter__(self) -> ExpertLoads:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _counter(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], RouterOutput], None]:
        def count(_module: nn.Module, _inputs: tuple[Tensor, ...], output: RouterOutput) -> None:
            total = self.counts[name]
            chosen = output[2] if self.token_mask is None else output[2][self.token_mask]
            total += torch.bincount(chosen.flatten(), minlength=len(total))

        return count


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
        loads: `ExpertLoads.counts` of the whole batch, summed over micro-batches and ranks.
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
    violations = [float(load.max() / load.double().mean() - 1) for load in loads.values() if load.sum() > 0]
    return sum(violations) / len(violations) if violations else 0.0


@contextmanager
def collect_router_logits(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect each MoE layer's (T, E) router logits of every forward inside the context, with their graph."""
    collected: list[Tensor] = []
    hooks = [
        router.register_forward_hook(lambda _module, _inputs, output: collected.append(output[0]))
        for _, router in routers(model)
    ]
    try:
        yield collected
    finally:
        for hook in hooks:
            hook.remove()


def sequence_balance_loss(router_logits: Tensor, position_ids: Tensor, top_k: int, *, alpha: float) -> Tensor:
    """Return the complementary sequence-wise balance loss (V3 eq. 17–20), averaged over sequences.

    L = α Σ_i f_i P_i,  f_i = E/(K T) Σ_t 1[i ∈ TopK(s_t)],  P_i = 1/T Σ_t s_it / Σ_j s_jt,  with
    s = sigmoid(logits). As in the paper, TopK is of the affinities without the bias. Only P has a gradient.

    Args:
        router_logits: (T, E) logits of one layer.
        position_ids: (T,) positions of `pack_documents`; a sequence starts at every 0.
        top_k: K, the experts of a token.
        alpha: α, the weight of the loss (V3: 0.0001).
    """
    scores = router_logits.float().sigmoid()
    expert_count = scores.shape[1]
    sequence = (position_ids == 0).cumsum(0) - 1
    lengths = torch.bincount(sequence).to(scores.dtype)[:, None]
    chosen = torch.zeros_like(scores).scatter_(1, scores.topk(top_k, dim=-1).indices, 1.0)
    zeros = scores.new_zeros(len(lengths), expert_count)
    fraction = zeros.index_add(0, sequence, chosen) * expert_count / (top_k * lengths)
    probability = zeros.index_add(0, sequence, scores / scores.sum(-1, keepdim=True)) / lengths
    return alpha * (fraction.detach() * probability).sum(-1).mean()
