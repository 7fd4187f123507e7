"""Functions of a user's, outside the toolkit: a recipe names them `tests.grpo.algorithm.own_functions:…`. The broken
ones each break one part of the contract."""

import os
import random

import numpy as np
import torch

from grpo.algorithm.policy_losses import PolicyBatch, PolicyTerm


def gspo(batch: PolicyBatch) -> PolicyTerm:
    """GSPO (2507.18071) from log-probs alone, with its own ratio and clip."""
    ids, samples = batch.sample_ids, batch.samples
    difference = batch.logprobs - batch.old_logprobs
    sums = torch.zeros(samples).index_add(0, ids, difference)
    lengths = torch.zeros(samples).index_add(0, ids, torch.ones(len(ids)))
    ratio = (sums / lengths.clamp(min=1))[ids].exp()
    low, high = 1 - batch.config.clip_low, 1 + batch.config.clip_high
    objective = torch.minimum(ratio * batch.advantages, ratio.clamp(low, high) * batch.advantages)
    down, up = batch.advantages < 0, batch.advantages > 0
    return PolicyTerm(objective, down & (ratio < low), up & (ratio > high))


def soft(batch: PolicyBatch, temperature: float) -> PolicyTerm:
    """A sigmoid gate in place of the clip; its parameter has no default."""
    gate = torch.sigmoid(temperature * batch.log_ratio.expm1()) * 4 / temperature
    return PolicyTerm(gate * batch.advantages)


def asymmetric(rewards: np.ndarray, *, penalty: float = 0.5) -> np.ndarray:
    """What is below the mean counts `penalty` times."""
    centred = rewards - rewards.mean()
    return np.where(centred < 0, penalty * centred, centred)


def k3(logprobs: torch.Tensor, ref_logprobs: torch.Tensor) -> torch.Tensor:
    """The built-in k3 written again."""
    difference = logprobs - ref_logprobs
    return torch.expm1(-difference) + difference


def half_squared(logprobs: torch.Tensor, ref_logprobs: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    return scale * 0.5 * (logprobs - ref_logprobs) ** 2


NUMBER = 3


class Loss:
    """A class is no function: it would have to be made first."""

    def __call__(self, batch):
        return gspo(batch)


def no_argument():
    return None


def two_arguments(batch, logprobs):
    return gspo(batch)


def raises(*_):
    raise RuntimeError("boom")


def exits(*_):
    os._exit(7)


def nothing(*_):
    return None


def bare_tensor(batch):
    return gspo(batch).objective


def scalar_loss(batch):
    return PolicyTerm(gspo(batch).objective.sum())


def double_loss(batch):
    return PolicyTerm(gspo(batch).objective.double())


def mask_of_numbers(batch):
    return PolicyTerm(gspo(batch).objective, clipped_low=batch.advantages)


def nan_loss(batch):
    return PolicyTerm(batch.log_ratio.log())


def detached(batch):
    return PolicyTerm(gspo(batch).objective.detach())


def constant(batch):
    return PolicyTerm(batch.advantages + 0 * batch.logprobs)


def infinite_gradient(batch):
    return PolicyTerm((batch.logprobs - batch.logprobs.detach()).abs().sqrt() * batch.advantages)


def random_loss(batch):
    return PolicyTerm(gspo(batch).objective * random.random())


def batch_normalised(batch):
    return PolicyTerm(gspo(batch).objective / len(batch.logprobs))


def scalar_advantage(rewards):
    return rewards.mean()


def nan_advantage(rewards):
    with np.errstate(invalid="ignore"):
        return (rewards - rewards.mean()) / rewards.std()


def random_advantage(rewards):
    return rewards + np.random.default_rng().random(len(rewards))


def writing_advantage(rewards):
    rewards -= rewards.mean()
    return rewards


def text_advantage(rewards):
    return np.array([str(r) for r in rewards])


def mean_kl(logprobs, ref_logprobs):
    return (logprobs - ref_logprobs).mean()


def centred_kl(logprobs, ref_logprobs):
    return (logprobs - ref_logprobs) - 0.5 * (logprobs - ref_logprobs).mean()


def detached_kl(logprobs, ref_logprobs):
    return k3(logprobs, ref_logprobs).detach()


def noisy_print(logprobs, ref_logprobs):
    print("not the result")
    return k3(logprobs, ref_logprobs)
