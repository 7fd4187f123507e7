"""The grouped product of routed experts against transformers' own loop over them, and against float64."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Experts
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Experts

from policies.experts import expert_ends, grouped_linear, linears, routed_output
from policies.lora_experts import add_expert_adapters

CLASSES = {"v2": DeepseekV2Experts, "v3": DeepseekV3Experts}
SIZES = st.tuples(
    st.integers(1, 40), st.integers(2, 9), st.sampled_from([8, 12, 13, 64]), st.sampled_from([3, 8, 20])
)
"""Tokens, experts, widths: some no multiple of what grouped products take."""


def make(kind: str, experts: int, width: int, inner: int, seed: int) -> nn.Module:
    config = SimpleNamespace(
        num_local_experts=experts, num_experts=experts, hidden_size=width, moe_intermediate_size=inner,
        hidden_act="silu", _experts_implementation="eager",
    )  # fmt: skip
    module = CLASSES[kind](config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * width**-0.5
    return module


def routing(tokens: int, experts: int, chosen: int, seed: int, used: int) -> tuple[Tensor, Tensor]:
    """Return (T, K) experts, of the first `used` alone, and float32 weights that ask for gradients."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(tokens, max(used, chosen), generator=generator)
    weights = torch.rand(tokens, chosen, generator=generator).requires_grad_()
    return scores.topk(chosen).indices, weights


def oracle(module: nn.Module, states: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """V3 eq. 12, token by token, in the states' type."""
    rows = []
    for t, k in itertools.product(range(len(states)), range(chosen.shape[1])):
        gate_up, down = (p[chosen[t, k]] for p in (module.gate_up_proj, module.down_proj))
        gate, up = (gate_up.to(states) @ states[t]).chunk(2)
        rows.append(weights[t, k].to(states) * (down.to(states) @ (torch.nn.functional.silu(gate) * up)))
    return torch.stack(rows).view(*chosen.shape, -1).sum(1)


def gradients(output: Tensor, *of: Tensor) -> list[Tensor]:
    direction = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return list(torch.autograd.grad(output, of, direction))


@given(
    sizes=SIZES,
    chosen=st.integers(1, 4),
    seed=st.integers(0, 99),
    kind=st.sampled_from(["v2", "v3"]),
    data=st.data(),
)
@settings(deadline=None)
def test_it_is_the_papers_sum(
    sizes: tuple[int, int, int, int], chosen: int, seed: int, kind: str, data: st.DataObject
) -> None:
    """Values and gradients of states, router weights and both tensors; some experts have no token."""
    tokens, experts, width, inner = sizes
    chosen = min(chosen, experts)
    module = make(kind, experts, width, inner, seed)
    states = torch.randn(tokens, width, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    index, weights = routing(tokens, experts, chosen, seed, data.draw(st.integers(1, experts)))
    of = (states, weights, module.gate_up_proj, module.down_proj)
    found = routed_output(module, states, index, weights)
    true = oracle(module, states.double(), index, weights)
    torch.testing.assert_close(found.double(), true, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(gradients(found, *of), gradients(true, *of), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", CLASSES)
def test_transformers_loop_gives_the_same(kind: str) -> None:
    module = make(kind, 6, 32, 16, 1)
    states = torch.randn(50, 32).requires_grad_()
    index, weights = routing(50, 6, 3, 2, 6)
    of = (states, weights, module.gate_up_proj, module.down_proj)
    loop = module.forward(states, index, weights)
    found = routed_output(module, states, index, weights)
    torch.testing.assert_close(found, loop, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(gradients(found, *of), gradients(loop, *of), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", CLASSES)
def test_autocast_computes_in_its_type(kind: str) -> None:
    """As transformers' loop does: products in bfloat16, the sum in the states' type."""
    module = make(kind, 6, 32, 16, 1)
    states = torch.randn(50, 32)
    index, weights = routing(50, 6, 3, 2, 6)
    exact = routed_output(module, states, index, weights)
    with torch.autocast("cpu", torch.bfloat16):
        assert grouped_linear(states, module.gate_up_proj, torch.full((6,), 50).int()).dtype == torch.bfloat16
        found, loop = routed_output(module, states, index, weights), module.forward(states, index, weights)
    assert found.dtype == loop.dtype == torch.float32
    ours, theirs = (found - exact).abs().mean(), (loop - exact).abs().mean()
    assert 0 < ours < 1.1 * theirs


@pytest.mark.parametrize("rank", [1, 4, 8, 11])
def test_adapters_add_their_products(rank: int) -> None:
    module, merged = make("v3", 5, 16, 12, 3), make("v3", 5, 16, 12, 3)
    holder = nn.ModuleDict({"experts": module})
    add_expert_adapters(holder, rank, alpha=2 * rank)
    generator = torch.Generator().manual_seed(4)
    for name in ("gate_up_proj", "down_proj"):
        a, b = module.lora_A[name], module.lora_B[name]
        a.data, b.data = (torch.randn(p.shape, generator=generator) * 0.1 for p in (a, b))
        getattr(merged, name).data += 2 * torch.bmm(b, a)
    states = torch.randn(30, 16)
    index, weights = routing(30, 5, 2, 5, 5)
    found = routed_output(module, states, index, weights)
    torch.testing.assert_close(found, routed_output(merged, states, index, weights), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, routed_output(make("v3", 5, 16, 12, 3), states, index, weights))


def test_no_token_is_no_error() -> None:
    module = make("v3", 4, 16, 8, 1)
    states = torch.empty(0, 16, requires_grad=True)
    index, weights = torch.empty(0, 2, dtype=torch.int64), torch.empty(0, 2)
    output = routed_output(module, states, index, weights)
    assert output.shape == (0, 16)
    output.sum().backward()
    assert module.down_proj.grad is not None
    assert not module.down_proj.grad.any()


def test_rows_of_experts() -> None:
    assert expert_ends(torch.tensor([0, 0, 2, 2, 2, 4]), 6).tolist() == [2, 2, 5, 5, 6, 6]
    assert linears(make("v2", 2, 8, 8, 1))[0][1] is None


def test_the_backward_writes_every_gradient_once() -> None:
    """A loop that picks experts by index makes a tensor of all experts for each; memory tells."""
    experts = 64
    module = make("v3", experts, 64, 64, 1)
    states = torch.randn(64, 64).requires_grad_()
    index, weights = routing(64, experts, 4, 2, experts)
    output = routed_output(module, states, index, weights)
    with torch.profiler.profile(profile_memory=True) as profile:
        output.sum().backward()
    allocated = sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())
    own = 4 * sum(p.numel() for p in module.parameters())
    assert allocated < 4 * own
