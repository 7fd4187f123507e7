from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.algorithm.advantages import mean, std
from grpo.algorithm.batching import (
    denominators,
    micro_batches,
    packed_tokens,
    phase_mini_batches,
    split_by_rank,
    to_train_groups,
)
from grpo.algorithm.types import TrainGroup, TrainSample
from rewards.types import Score, ScoredGroup
from rollout.types import Prompt, Sample, SampleGroup


def scored(number, totals):
    prompt = Prompt(f"p{number}", "", (1, 2, number), None)
    samples = tuple(
        Sample(
            prompt.id,
            i,
            np.arange(i + 1, dtype=np.int32),
            -np.arange(i + 1, dtype=np.float32),
            "",
            "stop",
            0,
            0,
            0,
        )
        for i in range(len(totals))
    )
    scores = tuple(Score(t) if t is not None else Score(None, verdict="timeout") for t in totals)
    return ScoredGroup(SampleGroup(prompt, samples), scores)


def group(prompt, lengths):
    samples = (
        TrainSample(np.full(n, i, np.int32), np.zeros(n, np.float32), 0.0, "p", i)
        for i, n in enumerate(lengths)
    )
    return TrainGroup(np.zeros(prompt, np.int32), tuple(samples))


@st.composite
def phases(draw):
    """Groups with prompts of 1–30 tokens and 1–6 samples of 0–40; some prompts come twice."""
    groups = []
    for number in range(draw(st.integers(0, 6))):
        lengths = draw(st.lists(st.integers(0, 40), min_size=1, max_size=6))
        samples = tuple(
            TrainSample(np.full(n, i, np.int32), np.zeros(n, np.float32), float(i), f"p{number % 4}", i)
            for i, n in enumerate(lengths)
        )
        groups.append(TrainGroup(np.full(draw(st.integers(1, 30)), number, np.int32), samples))
    return groups


def contents(batches):
    """Every sample with its prompt, as a multiset; the identity of its array tells a sample from its equals."""
    return Counter((tuple(g.prompt_ids), id(s.token_ids)) for b in batches for g in b for s in g.samples)


def test_abstentions_leave_and_small_groups_go():
    groups, counts = to_train_groups(
        [scored(0, [1.0, None, 0.0]), scored(1, [None, None, 1.0]), scored(2, [0.5, 0.5])], std, "keep"
    )
    assert [[s.index for s in g.samples] for g in groups] == [[0, 2], [0, 1]]
    assert [[s.advantage for s in g.samples] for g in groups] == [[1.0, -1.0], [0.0, 0.0]]
    assert groups[0].prompt_ids.tolist() == [1, 2, 0]
    assert groups[0].samples[1].token_ids.tolist() == [0, 1, 2]
    assert groups[0].samples[1].rollout_logprobs.tolist() == [0.0, -1.0, -2.0]
    assert counts == {
        "train/groups": 2, "train/samples": 4, "train/abstained": 3, "train/small_groups": 1,
        "train/zero_variance_groups": 0,
    }  # fmt: skip


def test_groups_of_equal_rewards_leave_under_drop():
    groups, counts = to_train_groups([scored(0, [1.0, 0.0]), scored(1, [0.5, 0.5])], mean, "drop")
    assert [g.samples[0].prompt_id for g in groups] == ["p0"]
    assert counts["train/zero_variance_groups"] == 1


@given(groups=phases(), m=st.integers(1, 5), seed=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_mini_batches_partition_the_samples_evenly_and_repeatably(groups, m, seed):
    batches = phase_mini_batches(groups, m, seed)
    assert contents(batches) == contents([groups])
    sizes = [sum(len(g.samples) for g in b) for b in batches]
    assert len(batches) == m
    assert max(sizes) - min(sizes) <= 1
    assert contents(batches[:1]) == contents(phase_mini_batches(groups, m, seed)[:1])


def test_the_split_is_over_samples_and_depends_on_the_seed():
    groups = [group(1, [1] * 16)] * 8
    splits = {
        seed: [tuple(len(g.samples) for g in b) for b in phase_mini_batches(groups, 4, (1, seed))]
        for seed in range(3)
    }
    assert all(sum(b) == 32 for b in splits[0])
    assert any(0 < n < 16 for n in splits[0][0])
    assert len({tuple(s) for s in splits.values()}) == 3


def test_samples_of_one_prompt_share_it_in_a_mini_batch():
    groups = [group(5, [1] * 6)]
    assert [len(b) for b in phase_mini_batches(groups, 2, (0, 0))] == [1, 1]


@given(groups=phases(), budget=st.integers(1, 120))
def test_micro_batches_hold_every_sample_once_within_the_budget(groups, budget):
    batches = micro_batches(groups, budget)
    assert contents(batches) == contents([groups])
    for batch in batches:
        if sum(packed_tokens(g) for g in batch) > budget:
            assert [len(g.samples) for g in batch] == [1]


def test_a_group_that_fits_stays_whole_and_best_fit_fills_the_gap():
    batches = micro_batches([group(2, [3]), group(4, [30, 30]), group(10, [20, 20]), group(5, [15])], 80)
    assert [sum(packed_tokens(g) for g in b) for b in batches] == [64, 75]
    assert [len(g.samples) for b in batches for g in b] == [2, 1, 2, 1]


@given(groups=phases(), world=st.integers(1, 4))
def test_ranks_partition_the_samples(groups, world):
    parts = split_by_rank(groups, world)
    assert len(parts) == world
    assert contents(parts) == contents([groups])


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_get_about_equal_tokens(world):
    lengths = np.random.default_rng(0).integers(20, 100, (1, 64))
    groups = [group(50, row) for row in lengths]
    loads = [sum(packed_tokens(g) for g in part) for part in split_by_rank(groups, world)]
    assert max(loads) < 1.5 * sum(loads) / world


@given(groups=phases())
def test_denominators_count_all(groups):
    total = denominators(groups, 7)
    lengths = [len(s.token_ids) for g in groups for s in g.samples]
    assert (total.samples, total.tokens, total.fixed_length) == (len(lengths), sum(lengths), 7)
