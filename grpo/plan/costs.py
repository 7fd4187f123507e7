"""Time of a stage on a cluster, from sizes alone. Pure arithmetic; every assumption is an argument.

Decoding: a pass reads from memory the weights that its tokens use and the cache of every sequence, multiplies, and
waits for the network in every layer. A phase lasts as long as its longest samples, so the batch of an engine shrinks
while the last ones go on: lengths are modelled as exponential, cut at the limit, with the given mean.
Log-probs: one forward pass per token. Training: three, and a fourth if activations are computed again.
"""

from __future__ import annotations

import math

from grpo.config.plan import MachineConfig
from policies.sizes import PolicySize

WEIGHT_BYTES = 2
"""bfloat16."""
POINTS = 256
"""Points of the integral over a completion's length."""


def cut_exponential_scale(mean: float, limit: float) -> float:
    """Return the scale m of an exponential length whose mean after a cut at `limit` is `mean`: m (1 − exp(−limit/m)).

    Returns math.inf if nearly all reach the limit (mean above half of it is flatter than any exponential).

    Raises:
        ValueError: not 0 < mean ≤ limit.
    """
    if not 0 < mean <= limit:
        raise ValueError(
            f"a mean of {mean:g} tokens is not within a limit of {limit:g}; fix tokens or lengths of its plan"
        )
    low, high = mean, 1e6 * limit
    if high * -math.expm1(-limit / high) <= mean:
        return math.inf
    for _ in range(200):
        middle = math.sqrt(low * high)
        if middle * -math.expm1(-limit / middle) < mean:
            low = middle
        else:
            high = middle
    return high


def decode_pass_s(size: PolicySize, machine: MachineConfig, batch: float, context: float) -> float:
    """Return the seconds of one decoding step of an engine with `batch` sequences of `context` tokens on average."""
    tokens = batch * machine.tokens_per_pass
    bytes_read = WEIGHT_BYTES * (size.read(tokens) + batch * context * size.cache)
    memory = bytes_read / (machine.engine_gpus * machine.bandwidth_tb_s * 1e12 * machine.bandwidth_share)
    compute = (
        tokens
        * size.forward_flops(context)
        / (machine.engine_gpus * machine.peak_tflops * 1e12 * machine.mfu)
    )
    return max(memory, compute) + size.layers * machine.layer_latency_us * 1e-6


def engine_capacity(size: PolicySize, machine: MachineConfig, context: float) -> float:
    """Return how many sequences of `context` tokens an engine's memory holds beside its weights.

    Raises:
        ValueError: the weights alone do not fit.
    """
    memory = machine.engine_gpus * machine.memory_gib * 2**30 * machine.engine_memory_share
    left = memory - WEIGHT_BYTES * size.total
    if left <= 0:
        raise ValueError(
            f"{size.total / 1e9:,.0f} B parameters do not fit in {machine.engine_gpus} GPUs of "
            f"{machine.memory_gib:g} GiB; raise plan.machine.engine_gpus"
        )
    return left / (WEIGHT_BYTES * size.cache * context)


def rollout_s(
    size: PolicySize, machine: MachineConfig, samples: float, prompt: float, mean: float, limit: float
) -> float:
    """Return the seconds in which the cluster's engines read the prompts and generate `samples` completions."""
    engines = max(1, machine.gpus // machine.engine_gpus)
    mine = samples / engines
    scale = cut_exponential_scale(mean, limit)
    batch = min(mine, engine_capacity(size, machine, prompt + mean))
    # While more samples wait, the engine is full: they take as long as its full batch lets them.
    waiting = (mine - batch) * mean / (batch * machine.tokens_per_pass)
    seconds = waiting * decode_pass_s(size, machine, batch, prompt + mean / 2)
    # The last ones: over all engines some sample runs until one in `samples` is left, or to the limit.
    end = limit if math.isinf(scale) else min(limit, scale * math.log(max(samples, math.e)))
    width = end / POINTS
    for i in range(POINTS):
        at = (i + 0.5) * width
        alive = max(1.0, batch * math.exp(-at / scale))
        seconds += width / machine.tokens_per_pass * decode_pass_s(size, machine, alive, prompt + at)
    return seconds + forward_s(size, machine, samples * prompt, prompt / 2)


def forward_s(size: PolicySize, machine: MachineConfig, tokens: float, context: float) -> float:
    """Return the seconds of one forward pass over `tokens` on all GPUs, each after `context` tokens on average."""
    return tokens * size.forward_flops(context) / (machine.gpus * machine.peak_tflops * 1e12 * machine.mfu)
