"""Router replay: a forward uses recorded choices of experts instead of its own.

    with RouterReplay(model) as replay:
        replay.expect(choices)                    {layer: (T, K) int64}, e.g. recorded from the engine that sampled
        … forward, backward …

Engine and learner round differently, and a token whose scores nearly tie goes to other experts: the log-probs then
differ by more than rounding. Replayed, both compute the same function. Only the choice is replayed: the weights are the
router's own scores of the recorded experts, normalised and scaled as the family does, so that gradients reach the
router as they do without (V3 2412.19437 eq. 12-13, V2 2405.04434 eq. 21-22).

Axes: T packed tokens, E experts of a layer, K experts of a token.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any  # of transformers' routers, which share no typed class

import torch
from torch import Tensor, nn

from policies.context import own_sequences
from policies.router import RouterOutput, layer_number, route_in_float32, routers

OWN = -1
"""Stands in a row of choices whose token the router routes itself, such as one that the engine never computed."""


def bfloat16_copy(model: nn.Module) -> nn.Module:
    """Return a copy that computes as a bfloat16 engine does: all in bfloat16, routers in float32."""
    copied = copy.deepcopy(model).to(torch.bfloat16)
    for (_, router), (_, original) in zip(routers(copied), routers(model), strict=True):
        for name, tensor in (*original.named_parameters(), *original.named_buffers()):
            getattr(router, name).data = tensor.detach().clone()
    route_in_float32(copied)
    return copied


def replayed_weights(router: Any, logits_TE: Tensor, chosen_TK: Tensor) -> Tensor:
    """Return the (T, K) weights of these experts, from a router's logits, as its family computes them.

    Args:
        router: of a DeepSeek V2 or V3 policy.
        logits_TE: float32, the router's own.
        chosen_TK: int64, experts.
    """
    is_v3 = hasattr(router, "e_score_correction_bias")
    scores = logits_TE.sigmoid() if is_v3 else logits_TE.softmax(-1, dtype=torch.float32)
    weights = scores.gather(1, chosen_TK)
    if is_v3 and router.norm_topk_prob:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    scaled: Tensor = weights * router.routed_scaling_factor
    return scaled


class RouterReplay:
    """Replaces the choice of every router from construction until `close`; make it before a `RouterWatch`."""

    def __init__(self, model: nn.Module) -> None:
        """Set the hooks; a policy without routers has none."""
        self._model = model
        self._choices: Mapping[int, Tensor] = {}
        self._hooks = [
            router.register_forward_hook(self._replacing(layer_number(name)))
            for name, router in routers(model)
        ]

    def expect(self, choices: Mapping[int, Tensor]) -> None:
        """Replay these choices in all forwards from now on, a layer's recomputation in the backward included.

        Args:
            choices: (T, K) int64 experts by layer, of the whole row where ranks divide its tokens; a row with `OWN` is
                left to the router, as is a layer that is missing. {}: no replay.
        """
        self._choices = choices

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def __enter__(self) -> RouterReplay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _replacing(
        self, layer: int
    ) -> Callable[[nn.Module, tuple[Tensor, ...], RouterOutput], RouterOutput | None]:
        def replace(
            router: nn.Module, _inputs: tuple[Tensor, ...], output: RouterOutput
        ) -> RouterOutput | None:
            if layer not in self._choices:
                return None
            logits, weights, chosen = output
            recorded = own_sequences(self._model, self._choices[layer].to(chosen.device))
            if recorded.shape != chosen.shape:
                raise ValueError(
                    f"layer {layer}: choices of shape {tuple(recorded.shape)}, the router's are {tuple(chosen.shape)}"
                )
            if int(recorded.max()) >= logits.shape[1]:
                raise ValueError(f"layer {layer}: expert {int(recorded.max())} of {logits.shape[1]}")
            is_own = (recorded == OWN).any(-1, keepdim=True)
            used = torch.where(is_own, chosen, recorded)
            with torch.autocast(logits.device.type, enabled=False):
                replayed = replayed_weights(router, logits, used)
            return logits, torch.where(is_own, weights, replayed.to(weights.dtype)), used

        return replace


class RoutingRecord:
    """Records every router's choices, (T, K) by layer, of the last forward; to prove replay without an engine."""

    def __init__(self, model: nn.Module) -> None:
        """Set the hooks."""
        self.choices: dict[int, Tensor] = {}
        self._hooks = [
            router.register_forward_hook(self._noting(layer_number(name))) for name, router in routers(model)
        ]

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def __enter__(self) -> RoutingRecord:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _noting(self, layer: int) -> Callable[[nn.Module, tuple[Tensor, ...], RouterOutput], None]:
        def note(_router: nn.Module, _inputs: tuple[Tensor, ...], output: RouterOutput) -> None:
            self.choices[layer] = output[2].detach().clone()

        return note
