"""The metrics of an update, added up over micro-batches and ranks."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from grpo.algorithm.losses import LossMetrics
from grpo.training import collectives

_SUMS = (
    "loss",
    "tokens",
    "entropy",
    "mismatch",
    "clipped_low",
    "clipped_high",
    "dual_clipped",
    "ratio",
    "kl",
    "importance",
    "importance_bound",
    "mtp",
)
_MAXIMA = ("mismatch_max", "ratio_max")


class StepSums:
    """Sums and maxima over the tokens of an update."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(len(_SUMS), dtype=torch.float64, device=device)
        self._maxima = torch.zeros(len(_MAXIMA), dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(
        self,
        *,
        loss: Tensor,
        metrics: LossMetrics,
        entropy: Tensor,
        logprobs: Tensor,
        rollout_logprobs: Tensor,
    ) -> None:
        """Add one micro-batch.

        Args:
            loss: 0-d.
            metrics: of `grpo_loss`.
            entropy: (C,) of the policy at each token, nats.
            logprobs: (C,) log π_θ.
            rollout_logprobs: (C,) log π_engine.
        """
        mismatch = (logprobs - rollout_logprobs).abs()
        values = dataclasses.asdict(metrics) | {
            "loss": loss,
            "tokens": logprobs.new_tensor(float(len(logprobs))),
            "entropy": entropy.sum(),
            "mismatch": mismatch.sum(),
            "mtp": loss.new_zeros(()),
            "mismatch_max": mismatch.max() if len(mismatch) else mismatch.new_zeros(()),
        }
        self._sums += torch.stack([values[name].double() for name in _SUMS])
        self._maxima = torch.maximum(self._maxima, torch.stack([values[name].double() for name in _MAXIMA]))

    @torch.no_grad()
    def add_mtp(self, loss: Tensor) -> None:
        """Add one micro-batch's loss of multi-token prediction, 0-d, its part of a mean over the batch's tokens."""
        self._sums[_SUMS.index("mtp")] += loss.double()

    def reduce(self, world_size: int) -> None:
        """Add up over all ranks; every rank calls it once, after its last micro-batch."""
        collectives.add(self._sums, world_size)
        collectives.maximum(self._maxima, world_size)

    @property
    def loss(self) -> float:
        """Loss of the mini-batch."""
        return float(self._sums[_SUMS.index("loss")])

    def metrics(self, with_mismatch: bool) -> dict[str, float]:
        """Means per token (but for the loss) under the names of metrics.jsonl; the loss alone, 0, without tokens.

        Args:
            with_mismatch: report |log π_θ − log π_engine|, which is the log-prob mismatch while π_θ is π_old.
        """
        sums = dict(zip(_SUMS, self._sums.tolist(), strict=True))
        maxima = dict(zip(_MAXIMA, self._maxima.tolist(), strict=True))
        tokens = sums["tokens"]
        if not tokens:
            return {"loss": 0.0}
        result = {
            "loss": sums["loss"],
            "policy/entropy": sums["entropy"] / tokens,
            "policy/kl": sums["kl"] / tokens,
            "policy/clip_frac": (sums["clipped_low"] + sums["clipped_high"] + sums["dual_clipped"]) / tokens,
            "policy/clip_frac_low": sums["clipped_low"] / tokens,
            "policy/clip_frac_high": sums["clipped_high"] / tokens,
            "policy/clip_frac_dual": sums["dual_clipped"] / tokens,
            "policy/ratio_mean": sums["ratio"] / tokens,
            "policy/ratio_max": maxima["ratio_max"],
            "policy/importance_mean": sums["importance"] / tokens,
            "policy/importance_bound_frac": sums["importance_bound"] / tokens,
        }
        if sums["mtp"]:
            result["loss/mtp"] = sums["mtp"]
        if with_mismatch:
            result |= {
                "logprob_mismatch/mean": sums["mismatch"] / tokens,
                "logprob_mismatch/max": maxima["mismatch_max"],
            }
        return result
