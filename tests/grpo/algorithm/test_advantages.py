import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.algorithm.advantages import group_advantages, has_spread, std
from grpo.algorithm.registry import advantage_estimator
from grpo.config.algorithm import FORMS, AlgorithmConfig
from tests.oracles import grpo_oracle

SCALES = tuple(FORMS["advantage"])
REWARDS = st.lists(st.sampled_from([0.0, 0.3, 0.5, 1.0, 1.3, -2.0, 7.25]), min_size=2, max_size=16)


def estimator(name):
    return advantage_estimator(AlgorithmConfig(advantage=name))


def of_one_group(rewards, scale):
    return group_advantages(np.array(rewards), np.zeros(len(rewards), dtype=int), estimator(scale))


def test_worked_numbers():
    """r = 1, 0, 0, 1: mean 0.5, population std 0.5."""
    assert of_one_group([1, 0, 0, 1], "std").tolist() == [1, -1, -1, 1]
    assert of_one_group([1, 0, 0, 1], "mean").tolist() == [0.5, -0.5, -0.5, 0.5]
    assert of_one_group([1, 0, 0, 1], "leave_one_out").tolist() == pytest.approx(
        [2 / 3, -2 / 3, -2 / 3, 2 / 3]
    )


@pytest.mark.parametrize("scale", SCALES)
@given(groups=st.lists(REWARDS, min_size=1, max_size=4), data=st.data())
def test_oracle_and_order(scale, groups, data):
    expected = [a for g in groups for a in grpo_oracle.advantages(g, scale)]
    rewards = np.array([r for g in groups for r in g])
    ids = np.array([7 * i - 3 for i, g in enumerate(groups) for _ in g])
    got = group_advantages(rewards, ids, estimator(scale))
    assert got.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    order = np.array(data.draw(st.permutations(range(len(rewards)))))
    assert np.array_equal(group_advantages(rewards[order], ids[order], estimator(scale)), got[order])


@pytest.mark.parametrize("scale", SCALES)
@given(rewards=REWARDS)
def test_advantages_of_a_group_sum_to_zero(scale, rewards):
    assert abs(of_one_group(rewards, scale).sum()) < 1e-10


@given(rewards=REWARDS, shift=st.floats(-100, 100), factor=st.floats(0.01, 100))
def test_std_ignores_shift_and_positive_scale(rewards, shift, factor):
    moved = (np.array(rewards) + shift) * factor
    np.testing.assert_allclose(of_one_group(moved, "std"), of_one_group(rewards, "std"), atol=1e-9)


@given(rewards=REWARDS)
def test_std_gives_unit_variance(rewards):
    advantages = of_one_group(rewards, "std")
    assert np.mean(advantages**2) == pytest.approx(1.0 if has_spread(rewards) else 0.0)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("rewards", [[0.1] * 7, [0.1 + 0.2, 0.3, 0.3], [0.0, 0.0], [1e300, 1e300]])
def test_equal_rewards_give_exactly_zero(scale, rewards):
    assert not has_spread(rewards)
    assert of_one_group(rewards, scale).tolist() == [0.0] * len(rewards)


def test_tiny_rewards_keep_their_spread():
    """Where the terms of the sum are known to be as small."""
    found = group_advantages([0.0, 1e-200], [0, 0], estimator("std"), scale=1e-200)
    assert found.tolist() == [-1.0, 1.0]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="one sample"):
        group_advantages(np.array([1.0, 0.0, 1.0]), np.array([0, 0, 1]), std)
    with pytest.raises(ValueError, match="finite"):
        of_one_group([1.0, float("nan")], "mean")
    with pytest.raises(ValueError, match="group_ids"):
        group_advantages(np.zeros(3), np.zeros(2), std)
    with pytest.raises(ValueError, match=r"'std', 'mean', 'leave_one_out'(.|\n)*'rank'"):
        of_one_group([1.0, 0.0], "rank")
