import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.algorithm.schedules import (
    is_due,
    is_reference_refresh,
    learning_rate,
    max_tokens_at,
    temperature_at,
)
from grpo.config.sections import OptimizerConfig, SamplingConfig, ScheduleStep


def rates(total, **options):
    config = OptimizerConfig(lr=1.0, **options)
    return [learning_rate(step, total, config) for step in range(total)]


def test_constant_with_warmup():
    assert rates(5, warmup_steps=2) == [0.5, 1.0, 1.0, 1.0, 1.0]


def test_linear_ends_at_the_minimum():
    assert rates(5, schedule="linear", min_lr_ratio=0.2) == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])


def test_cosine_is_half_a_cosine_after_warmup():
    got = rates(7, schedule="cosine", warmup_steps=2, min_lr_ratio=0.1)
    expected = [0.5, 1.0] + [0.1 + 0.9 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(5)]
    assert got == pytest.approx(expected)


@given(
    total=st.integers(1, 50),
    warmup=st.integers(0, 60),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    ratio=st.floats(0, 1),
)
def test_rate_rises_in_warmup_then_never_rises_and_stays_in_bounds(total, warmup, schedule, ratio):
    got = rates(total, schedule=schedule, warmup_steps=warmup, min_lr_ratio=ratio)
    assert all(0 <= r <= 1 for r in got)
    assert all(r > 0 for r in got[:warmup])
    assert got[:warmup] == sorted(got[:warmup])
    assert all(a >= b - 1e-12 for a, b in zip(got[warmup:], got[warmup + 1 :], strict=False))
    assert all(r >= ratio - 1e-12 for r in got[warmup:])


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match="-1"):
        learning_rate(-1, 10, OptimizerConfig())


def test_r1_zeros_length_limit():
    config = SamplingConfig(
        max_tokens=32768, max_tokens_schedule=(ScheduleStep(from_step=8200, value=65536),)
    )
    assert [max_tokens_at(s, config) for s in (0, 8199, 8200, 10399)] == [32768, 32768, 65536, 65536]
    assert isinstance(max_tokens_at(8200, config), int)


def test_changes_apply_by_step_not_by_order_in_the_file():
    changes = (ScheduleStep(from_step=20, value=0.5), ScheduleStep(from_step=10, value=0.7))
    config = SamplingConfig(temperature=1.0, temperature_schedule=changes)
    assert [temperature_at(s, config) for s in (9, 10, 19, 20, 99)] == [1.0, 0.7, 0.7, 0.5, 0.5]


def test_reference_refresh_every_400_steps():
    assert [s for s in range(1201) if is_reference_refresh(s, 400)] == [400, 800, 1200]
    assert not any(is_reference_refresh(s, 0) for s in range(10))


STEPS, PERIODS = st.integers(0, 10_000), st.integers(0, 500)


@given(STEPS, st.integers(1, 500))
def test_one_update_at_a_time_is_due_at_the_multiples(step, every):
    assert is_due(step, every, is_last=False) == (step % every == 0)


@given(STEPS, PERIODS, st.integers(1, 64))
def test_everything_is_due_at_the_end(step, every, updates):
    assert is_due(step, every, is_last=True, updates=updates)


@given(STEPS, st.integers(1, 64))
def test_a_period_of_zero_is_due_at_the_end_alone(step, updates):
    assert not is_due(step, 0, is_last=False, updates=updates)


@given(st.integers(1, 500), st.lists(st.integers(1, 64), max_size=40))
def test_phases_miss_no_multiple_and_ask_for_none_twice(every, phases):
    """Each multiple of the period belongs to the one phase that reached or passed it."""
    done, due = 0, []
    for updates in phases:
        done += updates
        if is_due(done, every, is_last=False, updates=updates):
            due.append(done)
    crossed = {next(e for e in ends(phases) if e >= k) for k in range(every, done + 1, every)}
    assert due == sorted(crossed)


def ends(phases):
    total = 0
    for updates in phases:
        total += updates
        yield total
