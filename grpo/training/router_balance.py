"""Balancing of experts in one rank's updates: losses, dropping, the moving bias, and what is measured of it.

    balance = RouterBalance(model, config.router, total_steps=…, ranks=…)
    with balance.watching():                       an update
        balance.expect(lengths, keys, …)           which tokens of the next forward are of which sequence
        … forward …
        loss = loss + balance.loss(sequences)      before its backward
    metrics = balance.finish(step)                 collective

All of it is of the policies' router; a policy without experts has no metrics and no loss.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from grpo.config.router import RouterConfig
from grpo.training import collectives
from policies.balance import (
    communication_loss,
    device_loss,
    expert_loads,
    expert_loss,
    shares,
    unbiased_choice,
)
from policies.context import context_total
from policies.model import HfConfig, causal_lm
from policies.router import Dropping, Routed, RouterWatch, load_violation, routers, update_router_bias

SKIPPED = -1
"""The sequence of a token that does not count."""


class RouterBalance:
    """What `[router]` asks for, on one rank."""

    def __init__(self, model: nn.Module, config: RouterConfig, *, total_steps: int, ranks: int) -> None:
        """Remember the policy's groups.

        Args:
            model: the policy; `grpo.config.router.check_router` has accepted it.
            config: the recipe's [router].
            total_steps: updates of the run, for γ's schedule.
            ranks: that hold different tokens; counts are summed over them.
        """
        shape: HfConfig = causal_lm(model).config
        self._model, self._config, self._total_steps, self._ranks = model, config, total_steps, ranks
        self._has_experts = any(True for _ in routers(model))
        self._is_sigmoid = shape.model_type == "deepseek_v3"
        self._devices = int(getattr(shape, "n_group", None) or 1)
        self._limit = int(getattr(shape, "topk_group", None) or 1)
        self._dropping: Dropping | None = None
        if self._has_experts and config.capacity is not None:
            self._dropping = Dropping(shape.n_routed_experts, self._devices, config.capacity)
        self._watch: RouterWatch | None = None
        self._total = partial(context_total, model)
        self._sequences = 0
        self._loss: Tensor | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the routers during the forwards and backwards of one update."""
        with RouterWatch(self._model, self._dropping) as self._watch:
            self._loss = None
            yield

    def expect(
        self,
        lengths: Sequence[int],
        keys: Sequence[bytes | None],
        device: torch.device,
        *,
        counts: bool = True,
    ) -> None:
        """Announce the tokens of the next forward, run after run.

        Args:
            lengths: tokens of each run.
            keys: what identifies the sequence of each run; None: its tokens do not count, as a shared prompt's.
            device: where the forward computes.
            counts: False for a forward that only takes part in other ranks' collectives.
        """
        assert self._watch is not None
        numbers: list[int] = []
        exempt: list[bool] = []
        for key in keys:
            numbers.append(len(exempt) if key is not None and counts else SKIPPED)
            if key is not None and counts:
                exempt.append(never_dropped(key, self._config.never_dropped))
        self._sequences = len(exempt)
        sequences = torch.repeat_interleave(torch.tensor(numbers), torch.tensor(lengths)).to(device)
        self._watch.expect(
            sequences,
            exempt_S=torch.tensor(exempt, device=device) if exempt else None,
            keep=self._config.has_losses and torch.is_grad_enabled(),
        )

    def loss(self, batch_sequences: int) -> Tensor | None:
        """Return the losses of the forward that `expect` announced; None without such.

        Args:
            batch_sequences: sequences of the whole batch, over all ranks; the losses are means over them.
        Returns:
            0-d with its graph: Σ over layers of the α-weighted losses.
        """
        assert self._watch is not None
        parts = [self._layer_loss(routed) for routed in self._watch.routed()]
        if not parts or not self._sequences:
            return None
        total = torch.stack(parts).sum() / batch_sequences
        self._loss = total.detach() + (0.0 if self._loss is None else self._loss)
        return total

    def finish(self, step: int, rate_share: float = 1.0) -> dict[str, float]:
        """Sum over ranks, move the bias by this update's γ, and return the metrics; a collective.

        Args:
            step: updates done before this one.
            rate_share: factor on γ.
        Returns:
            "router/max_violation", with dropping "router/dropped_share", with losses "loss/balance"; all of the whole
            batch. Empty for a policy without experts.
        """
        watch, self._watch = self._watch, None
        if watch is None or not self._has_experts:
            return {}
        counts = torch.stack(list(watch.counts.values()))
        dropped = torch.stack(list(watch.dropped.values())).sum()
        collectives.add(counts, self._ranks)
        summed = dict(zip(watch.counts, counts, strict=True))
        rate = self._config.bias_rate_at(step, self._total_steps) * rate_share
        if rate:
            update_router_bias(self._model, summed, rate)
        metrics = {"router/max_violation": load_violation(summed)}
        if self._dropping is not None:
            collectives.add(dropped, self._ranks)
            metrics["router/dropped_share"] = float(dropped) / max(1, int(counts.sum()))
        if self._config.has_losses:
            loss = torch.zeros((), dtype=torch.float64, device=counts.device)
            if self._loss is not None:
                loss += self._loss.double()
            collectives.add(loss, self._ranks)
            metrics["loss/balance"] = float(loss)
        return metrics

    def _layer_loss(self, routed: Routed) -> Tensor:
        config, count = self._config, self._sequences
        affinities = shares(routed.logits, sigmoid=self._is_sigmoid)
        total = affinities.new_zeros(())
        if self._is_sigmoid:
            chosen = unbiased_choice(routed.logits, routed.chosen.shape[1])
            loads = expert_loads(affinities, chosen, routed.sequences, count, self._total)
            return total + config.sequence_loss * expert_loss(*loads)
        loads = expert_loads(affinities, routed.chosen, routed.sequences, count, self._total)
        if config.expert_loss:
            total = total + config.expert_loss * expert_loss(*loads)
        if config.device_loss:
            total = total + config.device_loss * device_loss(*loads, self._devices)
        if config.communication_loss:
            sent = communication_loss(
                loads[1],
                routed.chosen,
                routed.sequences,
                devices=self._devices,
                limit=self._limit,
                total=self._total,
            )
            total = total + config.communication_loss * sent
        return total


def never_dropped(key: bytes, share: float) -> bool:
    """Tell if a sequence is one of the share that is never dropped; the same in every epoch and on every rank."""
    return zlib.crc32(key) < share * 2**32
