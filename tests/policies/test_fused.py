from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from policies.families.registry import PRESETS
from policies.fused import fuse, rms_norm, swiglu
from policies.logprobs import completion_logprobs
from policies.packing import pack
from tests.policies.tiny import random_groups, tiny_policy


def loss_and_gradients(model: torch.nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    logprobs, _ = completion_logprobs(model, pack(random_groups(0)))
    (logprobs * torch.linspace(-1, 1, len(logprobs))).sum().backward()
    return logprobs.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_fused_policy_computes_the_same(preset: str):
    model, fused = tiny_policy(preset), tiny_policy(preset)
    with torch.no_grad():
        for a, b in zip(model.parameters(), fused.parameters(), strict=True):
            if a.ndim == 1:  # a norm's weight of one would hide that it is left out
                b.copy_(a.add_(torch.linspace(-0.5, 0.5, len(a))))
    fuse(fused)
    logprobs, gradients = loss_and_gradients(model)
    fused_logprobs, fused_gradients = loss_and_gradients(fused)
    torch.testing.assert_close(fused_logprobs, logprobs, atol=1e-5, rtol=0)
    assert fused_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        error = (fused_gradients[name] - gradient).abs().max() / gradient.abs().max().clamp_min(1e-3)
        assert error < 2e-5, f"{name}: {error}"


def test_every_norm_and_mlp_is_replaced():
    model = tiny_policy("tiny-v3")
    fuse(model)
    replaced = {name for name, module in model.named_modules() if "forward" in vars(module)}
    assert {"model.norm", "model.layers.0.mlp", "model.layers.1.mlp.shared_experts"} <= replaced
    assert "model.layers.2.self_attn.kv_a_layernorm" in replaced


def test_norm_gradients_in_float64():
    x, weight = (torch.randn(*shape, dtype=torch.float64).requires_grad_() for shape in ((2, 5, 7), (7,)))
    expected = F.rms_norm(x, (7,), weight, 1e-3)
    torch.testing.assert_close(rms_norm(x, weight, 1e-3), expected)
    assert torch.autograd.gradcheck(lambda a, b: rms_norm(a, b, 1e-3), (x, weight))


def test_swiglu_gradients_in_float64():
    gate, up = (torch.randn(3, 5, dtype=torch.float64).requires_grad_() for _ in range(2))
    torch.testing.assert_close(swiglu(gate, up), F.silu(gate) * up)
    assert torch.autograd.gradcheck(swiglu, (gate, up))


def test_a_copy_uses_its_own_weights():
    model = tiny_policy("tiny-llama")
    fuse(model)
    twin = copy.deepcopy(model)
    packed = pack(random_groups(1))
    before = completion_logprobs(twin, packed)[0]
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert torch.equal(completion_logprobs(twin, packed)[0], before)
