"""Divides a phase's prompts into fixed chunks and gives every sample a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rollout.types import Prompt, RolloutChunk, SamplingParams, sample_seed


def make_chunks(
    prompts: Sequence[Prompt],
    name: str,
    run_seed: int,
    policy_version: int,
    sampling: SamplingParams,
    group_size: int,
    chunk_groups: int,
) -> list[RolloutChunk]:
    """Return chunks of at most `chunk_groups` prompts, in order.

    Args:
        prompts: the phase's prompts; a prompt that occurs twice gets different seeds each time.
        name: unique within a run, e.g. "train/12/0"; part of chunk ids and seeds.
        run_seed: the run's seed.
        policy_version: version of the weights that the chunk must be sampled from.
        sampling: temperature, lengths and stop tokens.
        group_size: samples per prompt.
        chunk_groups: prompts per chunk.

    Returns:
        The chunks. The same arguments give the same chunks in any process, so the samples do not depend on the
        worker that runs a chunk.
    """
    seen: Counter[str] = Counter()
    seeds = []
    for prompt in prompts:
        purpose = f"{name}#{seen[prompt.id]}"
        seen[prompt.id] += 1
        seeds.append(
            tuple(sample_seed(run_seed, purpose, policy_version, prompt.id, g) for g in range(group_size))
        )
    return [
        RolloutChunk(
            id=f"{name}/{number}",
            prompts=tuple(prompts[start : start + chunk_groups]),
            group_size=group_size,
            sampling=sampling,
            seeds=tuple(seeds[start : start + chunk_groups]),
            policy_version=policy_version,
        )
        for number, start in enumerate(range(0, len(prompts), chunk_groups))
    ]
