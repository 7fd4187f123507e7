"""Trial calls of the functions that a recipe names from outside: each keeps its contract on tiny inputs.

    problems(config)     one text per function that does not, naming its key

A trial shows what a run would show hours later: another shape, a NaN, no gradient, other numbers the second time, or
numbers of one sample that depend on the others beside it, which micro-batches and ranks would then change.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any  # Any: a function of the user, which the probe checks

import numpy as np
import torch
from torch import Tensor

from grpo.algorithm.advantages import group_advantages
from grpo.algorithm.kl import KlEstimator, kl_estimate
from grpo.algorithm.losses import policy_term
from grpo.algorithm.policy_losses import PolicyBatch, PolicyLoss
from grpo.algorithm.registry import describe_key, load_named, own_functions
from grpo.common.errors import ConfigError
from grpo.config.algorithm import AlgorithmConfig

REWARDS = ((1.0, 0.0, 0.5, 0.0), (0.0, 1.0), (1.0, 1.0, 1.0))
"""Groups of rewards: some differ, all differ, all are equal."""
SAMPLE_IDS = (0, 0, 0, 1, 1)
"""Two samples of three and two tokens; a third has none."""
SPREADS = (0.0, 0.3)
"""Standard deviation of log π_θ − log π_old, nats: on policy, and after some updates."""


class BrokenContract(ValueError):
    """What a function returned is not what its kind must return; the message has no key."""


def problems(config: AlgorithmConfig) -> list[str]:
    """Load and try every function of the user's; one text per key that fails. Leaves torch's random state alone."""
    found = []
    for key in own_functions(config):
        try:
            function = load_named(config, key)
        except ConfigError as error:
            found.append(str(error))
            continue
        with torch.random.fork_rng(devices=[]):
            problem = _try(key, function, config)
        if problem:
            found.append(f"{describe_key(key, getattr(config, key))}: {problem}")
    return found


def _try(key: str, function: Callable[..., Any], config: AlgorithmConfig) -> str:
    try:
        if key == "advantage":
            try_advantage(function)
        elif key == "kl_estimator":
            try_kl(function)
        else:
            try_policy_loss(function, config)
    except BrokenContract as error:
        return str(error)
    except Exception as error:  # whatever a function raises is a finding
        if str(error).startswith(f"algorithm.{key} returned "):  # by the checks of every call
            return str(error).removeprefix(f"algorithm.{key} ")
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        return f"a trial call raised {type(error).__name__}: {error}{place}"
    return ""


def try_advantage(estimator: Callable[..., Any]) -> None:
    """Call an advantage estimator on tiny groups.

    Raises:
        BrokenContract, or whatever the estimator raises.
    """
    for rewards in REWARDS:
        ids = np.zeros(len(rewards), dtype=np.int64)
        first, second = (group_advantages(rewards, ids, estimator) for _ in range(2))
        if not np.array_equal(first, second):
            raise BrokenContract(
                f"two calls with rewards {list(rewards)} gave {first.tolist()} and {second.tolist()}; a run could not "
                "be repeated or resumed"
            )


def try_policy_loss(policy_loss: PolicyLoss, config: AlgorithmConfig) -> None:
    """Call a policy loss on tiny batches, on and off policy.

    Raises:
        BrokenContract, or whatever the loss raises.
    """
    for spread in SPREADS:
        logprobs, old = _logprobs(spread)

        def objective(current: Tensor, samples: int = 3, old: Tensor = old) -> Tensor:
            batch = policy_batch(current, old[: len(current)], samples, config)
            return policy_term(policy_loss, batch).objective

        whole = _try_differentiable(objective, logprobs)
        part = objective(logprobs[:3].clone().requires_grad_(), samples=1)
        if not torch.allclose(part, whole[:3], rtol=1e-4, atol=1e-6):
            raise BrokenContract(
                f"the first sample alone has objective {part.tolist()}, beside others {whole[:3].tolist()}; a "
                "token's objective may depend on its own sample alone, or micro-batches would change the loss"
            )


def try_kl(estimator: KlEstimator) -> None:
    """Call a KL estimator on tiny tensors.

    Raises:
        BrokenContract, or whatever the estimator raises.
    """
    logprobs, ref = _logprobs(SPREADS[1])
    whole = _try_differentiable(lambda x: kl_estimate(x, ref, estimator), logprobs)
    part = kl_estimate(logprobs[:3].detach(), ref[:3], estimator)
    if not torch.allclose(part, whole[:3], rtol=1e-4, atol=1e-6):
        raise BrokenContract(
            f"the first three elements alone give {part.tolist()}, beside others {whole[:3].tolist()}; an element "
            "may depend on its own log-probs alone"
        )


def policy_batch(
    logprobs: Tensor, old_logprobs: Tensor, samples: int, config: AlgorithmConfig
) -> PolicyBatch:
    """The batch of these tokens of the trial's samples, whose advantages are 1, −0.5 and 0.25."""
    ids = torch.tensor(SAMPLE_IDS[: len(logprobs)])
    return PolicyBatch(
        logprobs=logprobs,
        old_logprobs=old_logprobs,
        log_ratio=load_named(config, "ratio")(logprobs - old_logprobs, ids, samples),
        advantages=torch.tensor([1.0, -0.5, 0.25])[ids],
        sample_ids=ids,
        samples=samples,
        config=config,
    )


def _logprobs(spread: float) -> tuple[Tensor, Tensor]:
    """(C,) float32 log π_θ and another policy's, that far apart."""
    generator = torch.Generator().manual_seed(0)
    current = -torch.rand(len(SAMPLE_IDS), generator=generator) - 0.5
    return current, current + spread * torch.randn(len(SAMPLE_IDS), generator=generator)


def _try_differentiable(function: Callable[[Tensor], Tensor], logprobs: Tensor) -> Tensor:
    """The function's values; they and the gradient of their sum are finite, and the same in a second call."""
    results = []
    for _ in range(2):
        current = logprobs.clone().requires_grad_()
        values = function(current)
        if not torch.isfinite(values).all():
            raise BrokenContract(f"returned {values.tolist()} for finite log-probs; expected finite numbers")
        if not values.requires_grad:
            raise BrokenContract("the result has no gradient in logprobs; leave out detach, item and no_grad")
        (gradient,) = torch.autograd.grad(values.sum(), current, allow_unused=True)
        if gradient is None or not gradient.any():
            raise BrokenContract("the gradient in logprobs is zero everywhere; nothing would be learnt")
        if not torch.isfinite(gradient).all():
            raise BrokenContract(f"the gradient in logprobs is {gradient.tolist()}; expected finite numbers")
        results.append((values.detach(), gradient))
    if not all(torch.equal(a, b) for a, b in zip(*results, strict=True)):
        raise BrokenContract("two calls with the same input differ; a run could not be repeated or resumed")
    return results[0][0]
