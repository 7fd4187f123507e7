"""Differences between rewards that are rounding alone are no signal; small differences that are real stay one."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grpo.algorithm.advantages import group_advantages
from grpo.algorithm.batching import to_train_groups
from grpo.algorithm.registry import advantage_estimator
from grpo.config.algorithm import FORMS, AlgorithmConfig
from grpo.tracking.phase_metrics import has_variance, phase_metrics
from rewards.config import RewardConfig
from rewards.scoring.scorer import Scorer
from rollout.types import Prompt, Sample, SampleGroup

ESTIMATORS = tuple(FORMS["advantage"])
WEIGHTS = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.7, 1.0, 1 / 3, 2.5]), min_size=1, max_size=6)
SCALES = st.floats(-6, 6).map(lambda power: 10.0**power)
PLUGIN = """
def value(row, factor=1.0):
    return factor * float(row.completion)

def cancels(row, factor=1.0):
    return factor * 0.1 + factor * 0.2 - factor * 0.3 if row.completion == "1" else 0.0
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    file = tmp_path_factory.mktemp("noise") / "noise.py"
    file.write_text(PLUGIN)
    return str(file)


def estimator(name):
    return advantage_estimator(AlgorithmConfig(advantage=name))


def score(rewards, texts):
    samples = tuple(
        Sample("p", i, np.zeros(1, np.int32), np.zeros(1, np.float32), text, "stop", 0, 0, 0)
        for i, text in enumerate(texts)
    )
    with Scorer(rewards) as scorer:
        (scored,) = scorer.score([SampleGroup(Prompt("p", "q", (1,), "1"), samples)], "rl", 0)
    return scored


def advantages(scored, name):
    (group,), _ = to_train_groups([scored], estimator(name), "keep")
    return [sample.advantage for sample in group.samples]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_weights_that_cancel_leave_no_advantage(plugin, name):
    """The total of a right answer is 2.8e-17, of a wrong one 0: every sample was at ±1."""
    rewards = [RewardConfig(name=f"{plugin}:value", weight=w) for w in (0.1, 0.2, -0.3)]
    scored = score(rewards, "1001")
    assert {s.total == 0.0 for s in scored.scores} == {True, False}
    assert advantages(scored, name) == [0.0] * 4
    assert not has_variance(scored)
    assert phase_metrics([scored], {}, {}, "")["group/zero_variance_share"] == 1.0
    assert to_train_groups([scored], estimator(name), "drop")[1]["train/zero_variance_groups"] == 1.0


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("weight", [1e-6, 1.0, 1e6])
def test_a_sum_inside_a_reward_that_cancels_leaves_no_advantage(plugin, name, factor, weight):
    reward = RewardConfig(name=f"{plugin}:cancels", weight=weight, params={"factor": factor})
    assert advantages(score([reward], "1001"), name) == [0.0] * 4


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("weight", [1e-12, 1.0, 1e6])
def test_a_small_reward_is_a_signal_at_every_scale(plugin, name, factor, weight):
    reward = RewardConfig(name=f"{plugin}:value", weight=weight, params={"factor": factor})
    scored = score([reward], "1001")
    assert has_variance(scored)
    whole = advantages(scored, name)
    assert whole[0] == whole[3] > 0 > whole[1] == whole[2]


@given(
    weights=WEIGHTS, scale=SCALES, values=st.lists(st.integers(0, 3), min_size=2, max_size=8), data=st.data()
)
def test_advantages_of_std_are_those_of_exact_sums(weights, scale, values, data):
    """Components in any order, some of which cancel: noise gives 0, a difference gives what fractions give."""
    signed = [w * data.draw(st.sampled_from([1, -1])) for w in weights]
    cancelled = [*signed, *(-w for w in data.draw(st.permutations(weights)))]
    order = data.draw(st.permutations(cancelled))
    totals = [sum(w * scale * v for w in order) for v in values]
    exact = [sum(Fraction(w) for w in order) * v for v in values]
    bound = max(abs(w) for w in order) * scale * max(values)
    spread = max(exact) - min(exact)
    assume(spread == 0 or spread > Fraction(1, 10**6))
    found = group_advantages(totals, np.zeros(len(values)), estimator("std"), scale=bound)
    if spread == 0 or bound == 0:
        assert found.tolist() == [0.0] * len(values)
        return
    centred = np.array([float(e - sum(exact) / len(exact)) for e in exact])
    np.testing.assert_allclose(found, centred / np.sqrt((centred**2).mean()), atol=1e-6)


def test_an_estimator_of_ones_own_gets_equal_rewards_where_only_rounding_differs():
    seen = []

    def by_rank(rewards):
        seen.append(rewards.tolist())
        return np.argsort(np.argsort(rewards)).astype(float)

    group_advantages([0.3, 0.1 + 0.2, 0.3], np.zeros(3), by_rank)
    group_advantages([0.1 + 0.2 - 0.3, 0.0], np.zeros(2), by_rank)
    assert seen == [[0.3] * 3, [0.0] * 2]
