"""From scored groups to the micro-batches of one forward each. Pure: the same groups give the same batches.

    to_train_groups      ScoredGroup → TrainGroup       drops abstentions, computes advantages
    phase_mini_batches   a phase's samples → M mini-batches at random (R1 B.4: 8,192 outputs → 16 × 512)
    split_by_rank        one mini-batch → its ranks, balanced by tokens
    micro_batches        a rank's part → packs within a token budget, best-fit decreasing (R1 B.1)

Samples of one prompt that are in the same part share it: a pack holds the P prompt tokens once, then the completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from grpo.algorithm.advantages import AdvantageEstimator, group_advantages, has_spread
from grpo.algorithm.packing_plan import balance, best_fit
from grpo.algorithm.types import Denominators, TrainGroup, TrainSample
from grpo.config.algorithm import ZeroVariance
from rewards.types import ScoredGroup


def to_train_groups(
    scored: Sequence[ScoredGroup], advantage: AdvantageEstimator, zero_variance: ZeroVariance
) -> tuple[list[TrainGroup], dict[str, float]]:
    """Compute advantages, and count what is left out.

    A sample without a verdict leaves its group. A group with fewer than two samples left, or (zero_variance = "drop")
    with equal rewards, does not train.

    Args:
        scored: the groups of a phase.
        advantage: the function behind algorithm.advantage.
        zero_variance: algorithm.zero_variance.

    Returns:
        Groups in the given order; counts train/groups, train/samples, train/abstained (samples without a
        verdict), train/small_groups and train/zero_variance_groups (groups dropped for that reason).

    Raises:
        ValueError: the estimator returns another shape or a number that is not finite.
    """
    groups: list[TrainGroup] = []
    counts = dict.fromkeys(("groups", "samples", "abstained", "small_groups", "zero_variance_groups"), 0)
    for index, item in enumerate(scored):
        kept = [
            (s, c.total) for s, c in zip(item.group.samples, item.scores, strict=True) if c.total is not None
        ]
        rewards = np.array([total for _, total in kept], dtype=np.float64)
        counts["abstained"] += len(item.scores) - len(kept)
        if len(kept) < 2:
            counts["small_groups"] += 1
            continue
        if zero_variance == "drop" and not has_spread(rewards, item.scale):
            counts["zero_variance_groups"] += 1
            continue
        advantages = group_advantages(rewards, np.zeros(len(kept), dtype=np.int64), advantage, item.scale)
        samples = tuple(
            TrainSample(s.token_ids, s.logprobs, float(a), s.prompt_id, s.index)
            for (s, _), a in zip(kept, advantages, strict=True)
        )
        groups.append(TrainGroup(np.asarray(item.group.prompt.token_ids, dtype=np.int32), samples, index))
        counts["groups"] += 1
        counts["samples"] += len(samples)
    return groups, {f"train/{name}": float(count) for name, count in counts.items()}


def phase_mini_batches(
    groups: Sequence[TrainGroup], mini_batches: int, seed: tuple[int, ...]
) -> list[list[TrainGroup]]:
    """Split a phase's samples (not its groups) at random into M mini-batches, whose sizes differ by at most one.

    Args:
        groups: all groups that train in the phase.
        mini_batches: M.
        seed: non-negative numbers; equal seeds give equal splits in every process.

    Returns:
        M mini-batches, some empty if there are fewer samples. Each keeps the order of groups and samples, and
        a group in it has only those of its samples that are in it.
    """
    indices = [(g, s) for g, group in enumerate(groups) for s in range(len(group.samples))]
    order = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed))).permutation(len(indices))
    parts = np.array_split(order, mini_batches)
    return [_select(groups, [indices[i] for i in sorted(part.tolist())]) for part in parts]


def denominators(mini_batch: Sequence[TrainGroup], fixed_length: int | None) -> Denominators:
    """Count samples and tokens of a whole mini-batch, before it is split by ranks and micro-batches."""
    samples = [s for g in mini_batch for s in g.samples]
    return Denominators(len(samples), sum(len(s.token_ids) for s in samples), fixed_length)


def split_by_rank(mini_batch: Sequence[TrainGroup], world_size: int) -> list[list[TrainGroup]]:
    """Divide a mini-batch among ranks so that their packed tokens are about equal.

    Groups go, largest first, to the rank with the fewest tokens. A group larger than half a rank's share is cut into
    pieces of consecutive samples, each of which repeats its prompt.
    """
    if world_size == 1:
        return [list(mini_batch)]
    share = sum(packed_tokens(g) for g in mini_batch) / world_size
    pieces = [p for g, group in enumerate(mini_batch) for p in _pieces(g, group, max(1, int(share / 2)))]
    plan = balance([p.tokens for p in pieces], world_size)
    return [_select(mini_batch, _indices([pieces[i] for i in chosen])) for chosen in plan]


def micro_batches(groups: Sequence[TrainGroup], budget: int) -> list[list[TrainGroup]]:
    """Pack groups into micro-batches of at most `budget` tokens, best-fit decreasing.

    A group over the budget is cut into pieces that repeat its prompt. A single sample over the budget gets a
    micro-batch of its own.
    """
    pieces = [p for g, group in enumerate(groups) for p in _pieces(g, group, budget)]
    plan = best_fit([p.tokens for p in pieces], budget)
    return [_select(groups, _indices([pieces[i] for i in chosen])) for chosen in plan]


def packed_tokens(group: TrainGroup) -> int:
    """Count the tokens of a group in a pack, its prompt once."""
    return len(group.prompt_ids) + sum(len(s.token_ids) for s in group.samples)


@dataclass(frozen=True)
class _Piece:
    """Consecutive samples of one group, by index."""

    group: int
    samples: range
    tokens: int


def _pieces(number: int, group: TrainGroup, limit: int) -> list[_Piece]:
    """Cut a group into as few pieces of at most `limit` tokens as the order of its samples allows."""
    prompt = len(group.prompt_ids)
    pieces, start, tokens = [], 0, prompt
    for i, sample in enumerate(group.samples):
        if i > start and tokens + len(sample.token_ids) > limit:
            pieces.append(_Piece(number, range(start, i), tokens))
            start, tokens = i, prompt
        tokens += len(sample.token_ids)
    pieces.append(_Piece(number, range(start, len(group.samples)), tokens))
    return pieces


def _indices(pieces: Sequence[_Piece]) -> list[tuple[int, int]]:
    return sorted((p.group, s) for p in pieces for s in p.samples)


def _select(groups: Sequence[TrainGroup], indices: Sequence[tuple[int, int]]) -> list[TrainGroup]:
    """The samples at these (group, sample) indices, which are sorted, as groups again."""
    chosen: dict[int, list[TrainSample]] = {}
    for g, s in indices:
        chosen.setdefault(g, []).append(groups[g].samples[s])
    return [replace(groups[g], samples=tuple(samples)) for g, samples in chosen.items()]
