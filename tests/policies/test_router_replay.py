"""Router replay: the recorded experts, weights of the learner's own scores, gradients through them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from policies.logprobs import completion_logprobs, sequence_logprobs
from policies.packing import pack_documents
from policies.router import RouterWatch, routers
from policies.router_replay import OWN, RouterReplay, RoutingRecord, bfloat16_copy
from tests.policies.tiny import tiny_policy

TOKENS = [5, 9, 3, 7, 7, 2, 11, 40]
GROUPS = {"n_routed_experts": 8, "n_group": 4, "topk_group": 3, "topk_method": "group_limited_greedy"}
POLICIES: list[tuple[str, dict[str, Any]]] = [("tiny-v3", {}), ("tiny-v2", {}), ("tiny-v2", GROUPS)]


def recorded(model: Any, tokens: list[int]) -> dict[int, Tensor]:
    with RoutingRecord(model) as record:
        sequence_logprobs(model, tokens)
    return record.choices


def other_choices(model: Any, tokens: list[int], seed: int = 0) -> dict[int, Tensor]:
    """Random experts, no two of a token the same."""
    generator = torch.Generator().manual_seed(seed)
    return {
        layer: torch.rand(len(tokens), router.weight.shape[0], generator=generator).topk(router.top_k).indices
        for (_, router), layer in zip(routers(model), recorded(model, tokens), strict=True)
    }


@pytest.mark.parametrize(("preset", "fields"), POLICIES)
def test_its_own_choices_replayed_change_nothing(preset: str, fields: dict[str, Any]) -> None:
    model = tiny_policy(preset, **fields)
    expected = sequence_logprobs(model, TOKENS)
    choices = recorded(model, TOKENS)
    assert choices
    with RouterReplay(model) as replay:
        replay.expect(choices)
        torch.testing.assert_close(sequence_logprobs(model, TOKENS), expected, rtol=0, atol=1e-6)
        replay.expect({})
        assert torch.equal(sequence_logprobs(model, TOKENS), expected)
    assert torch.equal(sequence_logprobs(model, TOKENS), expected)


@pytest.mark.parametrize(("preset", "fields"), POLICIES)
def test_weights_are_the_formula_of_the_family_over_the_recorded_experts(
    preset: str, fields: dict[str, Any]
) -> None:
    """Loops in float64: s = sigmoid or softmax of u·e; V3 normalises over the chosen; both scale."""
    model: Any = tiny_policy(preset, **fields)
    choices = other_choices(model, TOKENS)
    with RouterReplay(model) as replay:
        replay.expect(choices)
        for name, router in routers(model):
            states = torch.randn(len(TOKENS), router.hidden_dim, generator=torch.Generator().manual_seed(3))
            _, weights, chosen = router(states)
            picked = choices[int(name.split("layers.")[1].split(".")[0])]
            assert torch.equal(chosen, picked)
            logits = states.double().numpy() @ router.weight.detach().double().numpy().T
            for token, experts in enumerate(picked.tolist()):
                if preset == "tiny-v3":
                    scores = [1 / (1 + np.exp(-logits[token][e])) for e in experts]
                    wanted = np.array([s / sum(scores) for s in scores])
                else:
                    total = sum(np.exp(x) for x in logits[token])
                    wanted = np.array([np.exp(logits[token][e]) / total for e in experts])
                wanted = wanted * router.routed_scaling_factor
                np.testing.assert_allclose(weights[token].detach().numpy(), wanted, rtol=2e-5, atol=1e-8)


@pytest.mark.parametrize(("preset", "fields"), POLICIES)
def test_gradients_reach_the_router_through_the_weights_and_are_numbers_differences(
    preset: str, fields: dict[str, Any]
) -> None:
    model: Any = tiny_policy(preset, **fields)
    choices, packed = other_choices(model, TOKENS), pack_documents([TOKENS])
    name, router = next(routers(model))
    with RouterReplay(model) as replay:
        replay.expect(choices)
        completion_logprobs(model, packed)[0].sum().backward()
        gradient = router.weight.grad
        assert gradient is not None
        direction = gradient / gradient.norm()
        values = []
        for step in (1e-2, -1e-2):
            with torch.no_grad():
                router.weight.add_(step * direction)
                values.append(completion_logprobs(model, packed)[0].double().sum())
                router.weight.sub_(step * direction)
    slope = float((values[0] - values[1]) / 2e-2)
    assert slope == pytest.approx(float(gradient.norm()), rel=0.02), name


def test_a_row_of_own_is_left_to_the_router_and_a_watch_counts_what_is_used() -> None:
    model: Any = tiny_policy("tiny-v3")
    own, other = recorded(model, TOKENS), other_choices(model, TOKENS)
    mixed = {layer: rows.clone() for layer, rows in other.items()}
    for rows in mixed.values():
        rows[::2] = OWN
    with RouterReplay(model) as replay, RouterWatch(model) as watch, RoutingRecord(model) as record:
        replay.expect(mixed)
        watch.expect(torch.zeros(len(TOKENS), dtype=torch.int64))
        sequence_logprobs(model, TOKENS)
        first = min(own)
        assert torch.equal(record.choices[first][::2], own[first][::2])
        assert torch.equal(record.choices[first][1::2], other[first][1::2])
        for (name, counts), (layer, used) in zip(watch.counts.items(), record.choices.items(), strict=True):
            assert f"layers.{layer}." in name
            assert torch.equal(counts, used.flatten().bincount(minlength=len(counts)))


def test_choices_that_do_not_fit_are_refused() -> None:
    model = tiny_policy("tiny-v3")
    choices = recorded(model, TOKENS)
    layer = min(choices)
    with RouterReplay(model) as replay:
        replay.expect(choices | {layer: choices[layer][:-1]})
        with pytest.raises(ValueError, match=rf"layer {layer}: choices of shape"):
            sequence_logprobs(model, TOKENS)
        replay.expect(choices | {layer: choices[layer] + 99})
        with pytest.raises(ValueError, match=rf"layer {layer}: expert 1\d\d of"):
            sequence_logprobs(model, TOKENS)


def test_replay_removes_what_other_experts_add_to_the_mismatch() -> None:
    """A bfloat16 copy stands for the engine; the learner is float32."""
    rng = np.random.default_rng(0)
    model: Any = tiny_policy("tiny-v3")
    prompts = [rng.integers(2, model.config.vocab_size, 60).tolist() for _ in range(6)]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter *= 2.0  # far from uniform, so that rounding changes choices
    engine = bfloat16_copy(model)
    gaps: dict[str, list[Tensor]] = {"own": [], "replayed": []}
    others = 0
    for tokens in prompts:
        with RoutingRecord(engine) as record, torch.no_grad():
            theirs = sequence_logprobs(engine, tokens)
        own = recorded(model, tokens)
        others += sum(
            int((own[n].sort().values != record.choices[n].sort().values).any(-1).sum()) for n in own
        )
        gaps["own"].append((sequence_logprobs(model, tokens) - theirs).abs())
        with RouterReplay(model) as replay:
            replay.expect(record.choices)
            gaps["replayed"].append((sequence_logprobs(model, tokens) - theirs).abs())
    assert others > 5, "rounding changes no choice, so the test shows nothing"
    own_gap, replayed = (torch.cat(gaps[key]) for key in ("own", "replayed"))
    assert replayed.mean() < 0.9 * own_gap.mean()
    assert replayed.max() < 0.75 * own_gap.max()
