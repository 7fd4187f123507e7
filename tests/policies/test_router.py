from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policies.export import save_policy
from policies.load import load_policy
from policies.logprobs import completion_logprobs
from policies.packing import pack, pack_documents
from policies.presets import PRESETS
from policies.router import (
    ExpertLoads,
    collect_router_logits,
    load_violation,
    routers,
    sequence_balance_loss,
    update_router_bias,
)
from tests.policies.tiny import random_groups, tiny_policy

MOE_PRESETS = [name for name in PRESETS if name.startswith("tiny") and next(routers(tiny_policy(name)), None)]


def test_loads_count_every_packed_token_once_and_as_the_router_chose():
    model = tiny_policy("tiny-v3")
    packed = pack(random_groups(0))
    with ExpertLoads(model) as loads, collect_router_logits(model) as logits:
        completion_logprobs(model, packed)
    assert list(loads.counts) == ["model.layers.1.mlp.gate", "model.layers.2.mlp.gate"]
    for (_, router), count, layer_logits in zip(routers(model), loads.counts.values(), logits, strict=True):
        chosen = (layer_logits.sigmoid() + router.e_score_correction_bias).topk(2).indices
        assert count.tolist() == [(chosen == e).sum().item() for e in range(4)]
        assert count.sum() == 2 * len(packed.token_ids)


def test_only_masked_tokens_count():
    model = tiny_policy("tiny-v3")
    packed = pack(random_groups(0))
    mask = torch.arange(len(packed.token_ids)) % 3 == 0
    with ExpertLoads(model) as loads, collect_router_logits(model) as logits:
        loads.token_mask = mask
        completion_logprobs(model, packed)
    for count, layer_logits in zip(loads.counts.values(), logits, strict=True):
        chosen = layer_logits.sigmoid()[mask].topk(2).indices
        assert count.tolist() == [(chosen == e).sum().item() for e in range(4)]


def test_hooks_leave_no_trace():
    model = tiny_policy("tiny-v3")
    packed = pack(random_groups(0))
    with ExpertLoads(model) as loads:
        pass
    completion_logprobs(model, packed)
    assert all(count.sum() == 0 for count in loads.counts.values())
    assert not any(router._forward_hooks for _, router in routers(model))


def test_loads_add_up_over_forwards_until_cleared():
    model = tiny_policy("tiny-v3")
    packed = pack(random_groups(1))
    with ExpertLoads(model) as loads:
        completion_logprobs(model, packed)
        once = {name: count.clone() for name, count in loads.counts.items()}
        completion_logprobs(model, packed)
        assert all(torch.equal(loads.counts[name], 2 * count) for name, count in once.items())
        loads.clear()
        completion_logprobs(model, packed)
        assert all(torch.equal(loads.counts[name], count) for name, count in once.items())


def test_bias_moves_by_gamma_against_the_load():
    model = tiny_policy("tiny-v3")
    loads = {name: torch.tensor([10, 2, 5, 3]) for name, _ in routers(model)}  # mean 5
    update_router_bias(model, loads, 0.001)
    for _, router in routers(model):
        torch.testing.assert_close(router.e_score_correction_bias, torch.tensor([-0.001, 0.001, 0.0, 0.001]))


def test_bias_updates_balance_a_skewed_router():
    model = tiny_policy("tiny-v3", weight_std=0.1)
    packed = pack(random_groups(2, groups=8, samples=8))
    with ExpertLoads(model) as loads, torch.no_grad():
        for _, router in routers(model):
            router.e_score_correction_bias.copy_(torch.tensor([1.0, 1.0, 0.0, 0.0]))
        completion_logprobs(model, packed)
        before = load_violation(loads.counts)
        for _ in range(200):
            loads.clear()
            completion_logprobs(model, packed)
            update_router_bias(model, loads.counts, 0.01)
    assert before > 0.9
    assert load_violation(loads.counts) < 0.15


@pytest.mark.parametrize("preset", ["tiny-v2", "tiny-llama"])
def test_policies_without_a_bias_are_left_alone(preset: str):
    model = tiny_policy(preset)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with ExpertLoads(model) as loads:
        completion_logprobs(model, pack(random_groups(0)))
    update_router_bias(model, loads.counts, 0.1)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_violation_of_worked_loads():
    assert load_violation({"a": torch.tensor([2, 2, 2, 2])}) == 0
    assert load_violation({"a": torch.tensor([8, 0, 0, 0])}) == 3
    assert load_violation({"a": torch.tensor([8, 0, 0, 0]), "b": torch.tensor([1, 1, 1, 1])}) == 1.5
    assert load_violation({}) == 0


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    top_k=st.integers(1, 4),
)
def test_balance_loss_equals_the_printed_formula(lengths: list[int], seed: int, top_k: int):
    logits = torch.randn(sum(lengths), 4, generator=torch.Generator().manual_seed(seed))
    packed = pack_documents([[0] * length for length in lengths])
    found = sequence_balance_loss(logits, packed.position_ids, top_k, alpha=0.01)
    losses, start = [], 0
    for length in lengths:
        s = [
            [1 / (1 + 2.718281828459045**-x) for x in row] for row in logits[start : start + length].tolist()
        ]
        start += length
        total = 0.0
        for i in range(4):
            f = 4 / (top_k * length) * sum(i in sorted(range(4), key=lambda j, r=r: -r[j])[:top_k] for r in s)
            total += f * sum(r[i] / sum(r) for r in s) / length
        losses.append(0.01 * total)
    assert abs(found.item() - sum(losses) / len(losses)) < 1e-6


def test_balance_loss_pushes_down_the_overloaded_expert():
    logits = torch.tensor([[2.0, 0.0, 0.1, 0.2]] * 5, requires_grad=True)
    sequence_balance_loss(logits, torch.arange(5), 1, alpha=1.0).backward()
    assert (logits.grad[:, 0] > 0).all()
    assert (logits.grad[:, 1:] < 0).all()


def test_collected_logits_carry_the_gradient_to_the_router():
    model = tiny_policy("tiny-v3")
    packed = pack_documents([[1, 2, 3, 4], [5, 6, 7]])
    with collect_router_logits(model) as logits:
        completion_logprobs(model, packed)
    sum(sequence_balance_loss(x, packed.position_ids, 2, alpha=1.0) for x in logits).backward()
    assert all(router.weight.grad.abs().sum() > 0 for _, router in routers(model))


def router_calls(model, groups=None) -> list[tuple]:
    """(router, input, output) of every router in one forward under bfloat16 autocast."""
    calls: list[tuple] = []
    hooks = [
        router.register_forward_hook(lambda module, inputs, output: calls.append((module, inputs[0], output)))
        for _, router in routers(model)
    ]
    packed = pack(random_groups(3, groups=8) if groups is None else groups)
    with torch.autocast("cpu", torch.bfloat16):
        completion_logprobs(model, packed)
    for hook in hooks:
        hook.remove()
    return calls


def oracle_route(router, states: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(logits, weights by expert, chosen, margin) in float64 numpy, from the router's float32 inputs and weights."""
    x = states.reshape(-1, states.shape[-1]).double().numpy()
    logits = x @ router.weight.detach().double().numpy().T
    bias = getattr(router, "e_score_correction_bias", None)
    if bias is None:
        scores = np.exp(logits - logits.max(1, keepdims=True))
        scores /= scores.sum(1, keepdims=True)
        key = scores
    else:
        scores = 1 / (1 + np.exp(-logits))
        key = scores + bias.double().numpy()
    order = np.argsort(-key, axis=1)
    ranked = np.take_along_axis(key, order, 1)
    chosen = np.zeros_like(key, dtype=bool)
    np.put_along_axis(chosen, order[:, : router.top_k], True, 1)
    weights = np.where(chosen, scores, 0.0)
    if bias is not None and router.norm_topk_prob:
        weights /= weights.sum(1, keepdims=True)
    margin = ranked[:, router.top_k - 1] - ranked[:, router.top_k]
    return logits, weights * router.routed_scaling_factor, chosen, margin


def randomize_bias(model, seed: int) -> None:
    """Biases away from zero, and not representable in bfloat16."""
    generator = torch.Generator().manual_seed(seed)
    for _, router in routers(model):
        if hasattr(router, "e_score_correction_bias"):
            router.e_score_correction_bias.copy_(0.1 * torch.randn(router.num_experts, generator=generator))


@pytest.mark.parametrize("loaded", [False, True], ids=["new", "loaded"])
@pytest.mark.parametrize("preset", MOE_PRESETS)
def test_the_router_computes_in_float32_under_autocast(preset: str, loaded: bool, tmp_path: Path):
    model = tiny_policy(preset, seed=5)
    randomize_bias(model, 1)
    if loaded:
        model = load_policy(save_policy(model, tmp_path / "policy", None))
    calls = router_calls(model)
    assert len(calls) == 2
    for router, states, (logits, weights, chosen) in calls:
        assert logits.dtype == weights.dtype == torch.float32
        if "v3" in preset:
            assert router.e_score_correction_bias.dtype == torch.float32
        want_logits, want_weights, want_chosen, margin = oracle_route(router, states.detach())
        np.testing.assert_allclose(logits.detach().numpy(), want_logits, atol=1e-5, rtol=1e-5)
        found = torch.zeros(logits.shape).scatter(1, chosen, 1.0).bool().numpy()
        clear = margin > 1e-5
        assert clear.mean() > 0.95
        np.testing.assert_array_equal(found[clear], want_chosen[clear])
        dense = torch.zeros(logits.shape).scatter(1, chosen, weights.detach()).numpy()
        np.testing.assert_allclose(dense[clear], want_weights[clear], atol=1e-5, rtol=1e-5)


def test_the_router_s_gradient_under_autocast_reaches_its_float32_weights():
    model = tiny_policy("tiny-v3", seed=5)
    with torch.autocast("cpu", torch.bfloat16):
        logprobs, _ = completion_logprobs(model, pack(random_groups(3)))
    logprobs.sum().backward()
    for _, router in routers(model):
        assert router.weight.grad.dtype == torch.float32
        assert router.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("preset", MOE_PRESETS)
def test_without_autocast_a_router_gives_transformers_bits(preset: str):
    model = tiny_policy(preset, seed=5)
    randomize_bias(model, 1)
    states = torch.randn(50, 64, generator=torch.Generator().manual_seed(0))
    for _, router in routers(model):
        for ours, theirs in zip(router(states), type(router).forward(router, states), strict=True):
            assert torch.equal(ours, theirs)
