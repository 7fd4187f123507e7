from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from policies.export import save_policy
from policies.families.registry import PRESETS
from policies.load import load_policy
from policies.logprobs import completion_logprobs, hidden_states
from policies.mtp import mtp_logprobs
from policies.packing import pack, pack_documents
from policies.router import (
    Dropping,
    Routed,
    RouterWatch,
    load_violation,
    routers,
    update_router_bias,
)
from tests.policies.tiny import random_groups, tiny_policy

MOE_PRESETS = [name for name in PRESETS if name.startswith("tiny") and next(routers(tiny_policy(name)), None)]


def counted(packed, mask=None) -> torch.Tensor:
    """The sequences of a pack whose tokens are all of one, or those of a mask."""
    numbers = torch.zeros(len(packed.token_ids), dtype=torch.int64)
    return numbers if mask is None else torch.where(mask, numbers, -1)


def watched(model, packed, watch: RouterWatch, mask=None) -> list[Routed]:
    watch.expect(counted(packed, mask), keep=True)
    completion_logprobs(model, packed)
    return watch.routed()


def test_loads_count_every_packed_token_once_and_as_the_router_chose():
    model = tiny_policy("tiny-v3")
    packed = pack(random_groups(0))
    with RouterWatch(model) as watch:
        seen = watched(model, packed, watch)
    assert list(watch.counts) == ["model.layers.1.mlp.gate", "model.layers.2.mlp.gate"]
    for (_, router), count, routed in zip(routers(model), watch.counts.values(), seen, strict=True):
        chosen = (routed.logits.sigmoid() + router.e_score_correction_bias).topk(2).indices
        assert count.tolist() == [(chosen == e).sum().item() for e in range(4)]
        assert count.sum() == 2 * len(packed.token_ids)


def test_only_masked_tokens_count():
    model = tiny_policy("tiny-v3")
    packed = pack(random_groups(0))
    mask = torch.arange(len(packed.token_ids)) % 3 == 0
    with RouterWatch(model) as watch:
        seen = watched(model, packed, watch, mask)
    for count, routed in zip(watch.counts.values(), seen, strict=True):
        chosen = routed.logits.sigmoid()[mask].topk(2).indices
        assert count.tolist() == [(chosen == e).sum().item() for e in range(4)]


def test_hooks_leave_no_trace():
    model = tiny_policy("tiny-v3")
    packed = pack(random_groups(0))
    with RouterWatch(model) as watch:
        watch.expect(counted(packed))
    completion_logprobs(model, packed)
    assert all(count.sum() == 0 for count in watch.counts.values())
    assert not any(router._forward_hooks for _, router in routers(model))


def test_loads_add_up_over_announced_forwards_until_cleared():
    model = tiny_policy("tiny-v3")
    packed = pack(random_groups(1))
    with RouterWatch(model) as watch:
        watched(model, packed, watch)
        once = {name: count.clone() for name, count in watch.counts.items()}
        watched(model, packed, watch)
        completion_logprobs(model, packed)
        assert watch.routed() == []
        assert all(torch.equal(watch.counts[name], 2 * count) for name, count in once.items())
        watch.clear()
        watched(model, packed, watch)
        assert all(torch.equal(watch.counts[name], count) for name, count in once.items())


def test_a_layer_recomputed_in_the_backward_counts_once():
    model = tiny_policy("tiny-v3")
    packed = pack(random_groups(1))
    counts = []
    for recompute in (False, True):
        if recompute:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            model.train()
        with RouterWatch(model) as watch:
            watch.expect(counted(packed))
            logprobs, _ = completion_logprobs(model, packed)
            watch.routed()
            logprobs.sum().backward()
        counts.append([count.tolist() for count in watch.counts.values()])
    assert counts[0] == counts[1]


def test_layers_that_read_tokens_ahead_do_not_count_where_they_predict_nothing():
    """Depth k reads past the end of a sequence in its last k tokens."""
    model = tiny_policy("tiny-v3", num_nextn_predict_layers=2)
    documents = [[1, 2, 3, 4, 5], [6, 7], [8, 9, 10]]
    packed = pack_documents(documents)
    sequences = torch.repeat_interleave(torch.arange(3), torch.tensor([5, 2, 3]))
    with RouterWatch(model) as watch:
        watch.expect(sequences)
        mtp_logprobs(model, packed, hidden_states(model, packed))
    counted_tokens = [int(count.sum()) // 2 for count in watch.counts.values()]
    assert counted_tokens == [10, 10, 4 + 1 + 2, 3 + 0 + 1]


def test_bias_moves_by_gamma_against_the_load():
    model = tiny_policy("tiny-v3")
    loads = {name: torch.tensor([10, 2, 5, 3]) for name, _ in routers(model)}  # mean 5
    update_router_bias(model, loads, 0.001)
    for _, router in routers(model):
        torch.testing.assert_close(router.e_score_correction_bias, torch.tensor([-0.001, 0.001, 0.0, 0.001]))


def test_bias_updates_balance_a_skewed_router():
    model = tiny_policy("tiny-v3", weight_std=0.1)
    packed = pack(random_groups(2, groups=4, samples=4))
    with RouterWatch(model) as watch, torch.no_grad():
        for _, router in routers(model):
            router.e_score_correction_bias.copy_(torch.tensor([1.0, 1.0, 0.0, 0.0]))
        watched(model, packed, watch)
        before = load_violation(watch.counts)
        for _ in range(100):
            watch.clear()
            watched(model, packed, watch)
            update_router_bias(model, watch.counts, 0.02)
    assert before > 0.9
    assert load_violation(watch.counts) < 0.15


@pytest.mark.parametrize("preset", ["tiny-v2", "tiny-llama"])
def test_policies_without_a_bias_are_left_alone(preset: str):
    model = tiny_policy(preset)
    packed = pack(random_groups(0))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with RouterWatch(model) as watch:
        watched(model, packed, watch)
    update_router_bias(model, watch.counts, 0.1)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_violation_of_worked_loads():
    assert load_violation({"a": torch.tensor([2, 2, 2, 2])}) == 0
    assert load_violation({"a": torch.tensor([8, 0, 0, 0])}) == 3
    assert load_violation({"a": torch.tensor([8, 0, 0, 0]), "b": torch.tensor([1, 1, 1, 1])}) == 1.5
    assert load_violation({}) == 0


@pytest.mark.parametrize("recompute", [False, True], ids=["", "recompute"])
def test_dropped_pairs_add_nothing_and_the_gradient_knows_it(recompute: bool):
    """Against a model whose routers' weights are masked by hand; kept pairs keep their weight, as V2 prints it."""
    groups = {"n_routed_experts": 8, "n_group": 4, "topk_group": 3, "topk_method": "group_limited_greedy"}
    packed = pack_documents([list(range(1, 20)), list(range(5, 30)), list(range(2, 12))])
    sequences = torch.repeat_interleave(torch.arange(3), torch.tensor([19, 25, 10]))
    exempt = torch.tensor([False, True, False])
    results = []
    for by_hand in (True, False):
        model = tiny_policy("tiny-v2", **groups)
        if recompute and not by_hand:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            model.train()
        masks = []

        def mask(_module, _inputs, output, masks=masks):
            kept = kept_by_hand(output[1].detach(), output[2], sequences, exempt, devices=4, capacity=0.8)
            masks.append(kept)
            return output[0], output[1] * kept, output[2]

        with RouterWatch(model, None if by_hand else Dropping(8, 4, 0.8)) as watch:
            watch.expect(sequences, exempt_S=exempt)
            hooks = [r.register_forward_hook(mask) for _, r in routers(model)] if by_hand else []
            logprobs, _ = completion_logprobs(model, packed)
            watch.routed()
            logprobs.sum().backward()
        for hook in hooks:
            hook.remove()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
        results.append((logprobs.detach(), gradients, masks or [int(d) for d in watch.dropped.values()]))
    (ours, our_gradients, dropped), (theirs, their_gradients, masks) = results[1], results[0]
    assert torch.equal(ours, theirs)
    assert all(torch.equal(our_gradients[n], g) for n, g in their_gradients.items())
    assert dropped == [int((~m).sum()) for m in masks]
    assert all(d > 0 for d in dropped)


def kept_by_hand(weights, chosen, sequences, exempt, *, devices: int, capacity: float) -> torch.Tensor:
    """V2 §2.2.4 in loops."""
    tokens, top_k = chosen.shape
    budget = int(capacity * tokens * top_k / devices)
    kept = torch.ones_like(chosen, dtype=torch.bool)
    for d in range(devices):
        pairs = [
            (weights[t, k].item(), t, k)
            for t in range(tokens)
            for k in range(top_k)
            if chosen[t, k].item() * devices // 8 == d
        ]
        free = [p for p in pairs if not exempt[sequences[p[1]]]]
        left = max(0, budget - (len(pairs) - len(free)))
        for _, t, k in sorted(free, key=lambda p: -p[0])[left:]:
            kept[t, k] = False
    return kept


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
