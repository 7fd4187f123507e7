"""A policy loss of your own: check that it keeps the contract, then compare its gradient with the built-in one's.

    python examples/custom_loss.py

A recipe names the same function: policy_loss = "examples/custom_loss.py:soft_clip" in [algorithm].
"""

from __future__ import annotations

import torch

from grpo.algorithm import probe
from grpo.algorithm.loss_form import loss_form
from grpo.algorithm.losses import grpo_loss
from grpo.algorithm.policy_losses import PolicyBatch, PolicyTerm
from grpo.algorithm.types import Denominators
from grpo.config.algorithm import AlgorithmConfig

SAMPLE_IDS = torch.tensor([0, 0, 1, 1])
ADVANTAGES = torch.tensor([1.0, -1.0])
OLD_LOGPROBS = torch.full((4,), -1.5)
LOGPROBS = torch.tensor([-1.5, -0.5, -1.5, -2.5])


def soft_clip(batch: PolicyBatch, width: float = 0.2) -> PolicyTerm:
    """Return f = A (1 + width tanh((ρ − 1) / width)): near ρ = 1 the plain ratio, far away bound by `width`."""
    ratio = batch.log_ratio.exp()
    return PolicyTerm(batch.advantages * (1.0 + width * torch.tanh((ratio - 1.0) / width)))


def gradient(config: AlgorithmConfig) -> list[float]:
    """The gradient of the loss by the log-prob of each of the four tokens."""
    logprobs = LOGPROBS.clone().requires_grad_()
    loss, _ = grpo_loss(
        logprobs=logprobs,
        old_logprobs=OLD_LOGPROBS,
        ref_logprobs=None,
        rollout_logprobs=None,
        sample_ids=SAMPLE_IDS,
        advantages=ADVANTAGES,
        denominators=Denominators(samples=2, tokens=4),
        form=loss_form(config),
    )
    (result,) = torch.autograd.grad(loss, logprobs)
    return [round(value, 3) for value in result.tolist()]


def main() -> None:
    """Print what the contract's trial finds, and both gradients."""
    own = AlgorithmConfig(policy_loss=f"{__file__}:soft_clip", policy_loss_params={"width": 0.4}, kl_coef=0.0)
    print(f"problems: {probe.problems(own)}")
    print(f"clip:      {gradient(AlgorithmConfig(kl_coef=0.0))}")
    print(f"soft_clip: {gradient(own)}")


if __name__ == "__main__":
    main()
