"""Balance losses against the papers' formulas in float64 loops, their gradients, and V2's capacity."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from policies.balance import (
    communication_loss,
    device_loss,
    expert_loads,
    expert_loss,
    shares,
    unbiased_choice,
    within_capacity,
)

EXPERTS, DEVICES, LIMIT = 6, 3, 2
LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(sum)


def logits_of(tokens: int, seed: int) -> Tensor:
    return 2 * torch.randn(
        tokens, EXPERTS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def sequences_of(lengths: list[int], skipped: int) -> Tensor:
    """Sequence after sequence, behind tokens that do not count."""
    return torch.tensor([-1] * skipped + [s for s, n in enumerate(lengths) for _ in range(n)])


def printed(
    logits: list[list[float]], chosen: list[list[int]], sequences: list[int], *, sigmoid: bool, kind: str
) -> float:
    """The sum over sequences, in loops: V3 eq. 17-20, V2 eq. 23-31."""
    per = EXPERTS // DEVICES
    total = 0.0
    for sequence in sorted(set(sequences) - {-1}):
        tokens = [t for t, s in enumerate(sequences) if s == sequence]
        f, p = [], []
        for i in range(EXPERTS):
            f.append(EXPERTS / (len(chosen[0]) * len(tokens)) * sum(i in chosen[t] for t in tokens))
            mean = 0.0
            for t in tokens:
                s = [1 / (1 + math.exp(-x)) if sigmoid else math.exp(x) for x in logits[t]]
                mean += s[i] / sum(s) / len(tokens)
            p.append(mean)
        if kind == "expert":
            total += sum(f[i] * p[i] for i in range(EXPERTS))
        for d in range(DEVICES):
            on = range(d * per, (d + 1) * per)
            if kind == "device":
                total += sum(f[i] for i in on) / per * sum(p[i] for i in on)
            if kind == "communication":
                sent = sum(any(i in on for i in chosen[t]) for t in tokens)
                total += DEVICES / (LIMIT * len(tokens)) * sent * sum(p[i] for i in on)
    return total


def found(
    logits: Tensor, chosen: Tensor, sequences: Tensor, count: int, *, sigmoid: bool, kind: str
) -> Tensor:
    loads = expert_loads(shares(logits, sigmoid=sigmoid), chosen, sequences, count)
    if kind == "expert":
        return expert_loss(*loads)
    if kind == "device":
        return device_loss(*loads, DEVICES)
    return communication_loss(loads[1], chosen, sequences, devices=DEVICES, limit=LIMIT)


@given(LENGTHS, st.integers(0, 3), st.integers(0, 1000), st.integers(1, EXPERTS), st.booleans())
@pytest.mark.parametrize("kind", ["expert", "device", "communication"])
def test_losses_are_the_printed_formulas(
    kind: str, lengths: list[int], skipped: int, seed: int, top_k: int, sigmoid: bool
) -> None:
    sequences = sequences_of(lengths, skipped)
    logits = logits_of(len(sequences), seed)
    chosen = unbiased_choice(logits, top_k)
    ours = found(logits, chosen, sequences, len(lengths), sigmoid=sigmoid, kind=kind)
    oracle = printed(logits.tolist(), chosen.tolist(), sequences.tolist(), sigmoid=sigmoid, kind=kind)
    assert ours.item() == pytest.approx(oracle, rel=1e-5)


@pytest.mark.parametrize("sigmoid", [True, False])
@pytest.mark.parametrize("kind", ["expert", "device", "communication"])
def test_gradients_are_those_of_the_formulas(kind: str, sigmoid: bool) -> None:
    """Central differences of the loops; the choices stand still, as f has no gradient."""
    sequences = sequences_of([3, 1, 2], 1)
    logits = logits_of(len(sequences), 5)
    chosen = unbiased_choice(logits, 2)
    moved = logits.clone().requires_grad_()
    found(moved, chosen, sequences, 3, sigmoid=sigmoid, kind=kind).backward()
    assert moved.grad is not None
    assert torch.equal(moved.grad[0], torch.zeros(EXPERTS, dtype=torch.float64))
    step = 1e-5
    for t in range(len(sequences)):
        for i in range(EXPERTS):
            ends = []
            for sign in (1, -1):
                shifted = logits.clone()
                shifted[t, i] += sign * step
                ends.append(
                    printed(shifted.tolist(), chosen.tolist(), sequences.tolist(), sigmoid=sigmoid, kind=kind)
                )
            assert moved.grad[t, i].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-6)


def test_a_balanced_layer_has_a_loss_of_one_per_sequence() -> None:
    """f = 1 everywhere and P sums to 1; with all devices used by every token f'' is D/M."""
    logits = torch.zeros(6, EXPERTS)
    chosen = torch.tensor([[t % 6, (t + 3) % 6] for t in range(6)])
    loads = expert_loads(shares(logits, sigmoid=False), chosen, torch.zeros(6, dtype=torch.int64), 1)
    assert expert_loss(*loads).item() == pytest.approx(1.0)
    assert device_loss(*loads, DEVICES).item() == pytest.approx(1.0)


def test_the_loss_pushes_down_the_overloaded_expert() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.1, 0.2]] * 5, requires_grad=True)
    chosen = unbiased_choice(logits.detach(), 1)
    loads = expert_loads(shares(logits, sigmoid=True), chosen, torch.zeros(5, dtype=torch.int64), 1)
    expert_loss(*loads).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 0] > 0).all()
    assert (logits.grad[:, 1:] < 0).all()


@given(
    st.integers(1, 12),
    st.integers(0, 500),
    st.sampled_from([0.1, 0.5, 1.0, 1.5, 4.0]),
    st.integers(1, EXPERTS),
)
def test_capacity_keeps_the_highest_affinities_and_all_exempt(
    tokens: int, seed: int, capacity: float, top_k: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    weights, chosen = shares(logits_of(tokens, seed), sigmoid=False).topk(top_k)
    counted = torch.rand(tokens, generator=random) < 0.8
    exempt = (torch.rand(tokens, generator=random) < 0.3) & counted
    kept = within_capacity(
        weights,
        chosen,
        counted_T=counted,
        exempt_T=exempt,
        experts=EXPERTS,
        devices=DEVICES,
        capacity=capacity,
    )
    budget = int(capacity * int(counted.sum()) * top_k / DEVICES)
    assert kept[~counted].all()
    assert kept[exempt].all()
    for d in range(DEVICES):
        here = (chosen // (EXPERTS // DEVICES) == d) & counted[:, None]
        free = here & ~exempt[:, None]
        expected = min(int(free.sum()), max(0, budget - int((here & exempt[:, None]).sum())))
        assert int((free & kept).sum()) == expected
        lost, stays = weights[free & ~kept], weights[free & kept]
        if len(lost) and len(stays):
            assert lost.max() <= stays.min()
