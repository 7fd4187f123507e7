"""Cuts a phase's prompts into fixed chunks, with a seed for every sample. Pure."""

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
    """Chunks of at most `chunk_groups` prompts, in order.

    Args:
        prompts: the phase's prompts; one may come twice and then gets other seeds.
        name: unique within a run, e.g. "train/12/0"; part of chunk ids and seeds.
        run_seed: the run's seed.
        policy_version: weights that the chunk must be sampled from.
        sampling: how.
        group_size: G.
        chunk_groups: prompts per chunk.

    Returns:
        The same chunks for the same arguments, in any process: where a chunk runs does not change what it
        samples.
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
