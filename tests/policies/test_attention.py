from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import kernels
from policies.attention import packed_attention
from policies.packing import pack
from tests.oracles.policies_oracle import Groups, dense_attention, dense_mask
from tests.policies.tiny import group_shapes, random_groups

NO_MODULE = torch.nn.Identity()


def heads(count: int, length: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (1.5 * torch.randn(1, count, length, width, generator=generator)).requires_grad_()


def compare(groups: Groups, q_heads: int = 4, kv_heads: int = 2, width: int = 16, v_width: int = 16) -> None:
    packed = pack(groups)
    size = packed.layout.token_count
    q, k, v = (
        heads(q_heads, size, width, 0),
        heads(kv_heads, size, width, 1),
        heads(kv_heads, size, v_width, 2),
    )
    out, _ = packed_attention(NO_MODULE, q, k, v, None, scaling=0.3, packed_layout=packed.layout)
    expected = dense_attention(q[0].double(), k[0].double(), v[0].double(), dense_mask(groups), 0.3)
    assert out.shape == (1, size, q_heads, v_width)
    torch.testing.assert_close(out[0].double(), expected, atol=1e-5, rtol=1e-5)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3))
    ours = torch.autograd.grad((out[0] * weight).sum(), (q, k, v))
    theirs = torch.autograd.grad((expected * weight).sum(), (q, k, v))
    largest = max(1.0, *(b.abs().max().item() for b in theirs))
    for name, a, b in zip("qkv", ours, theirs, strict=True):
        error = (a - b).abs().max().item() / largest
        assert error < 1e-5, f"d{name}: {error}"


@settings(deadline=None, max_examples=40)
@given(group_shapes(max_groups=3, max_samples=3, longest=20))
def test_equals_a_dense_mask_with_its_gradients(groups: Groups):
    compare(groups)


@pytest.mark.parametrize(("width", "v_width"), [(24, 16), (16, 24), (80, 64)])
def test_values_may_be_narrower_or_wider_than_keys(width: int, v_width: int):
    compare(random_groups(1), q_heads=2, kv_heads=2, width=width, v_width=v_width)


def test_long_rows_of_very_different_length():
    tokens = list(range(50)) * 20
    compare([(tokens[:700], [tokens[:300], tokens[:3]]), (tokens[:2], [tokens[:400]] * 3)], 2, 1)


def test_scores_of_hundreds_stay_finite():
    packed = pack([([1] * 5, [[2] * 9, [3] * 4]), ([1] * 3, [[2] * 2])])
    q, k, v = (heads(2, packed.layout.token_count, 16, seed) for seed in range(3))
    out, _ = packed_attention(NO_MODULE, q * 30, k * 30, v, None, packed_layout=packed.layout)
    assert torch.isfinite(torch.stack(torch.autograd.grad(out.sum(), (q, k, v)))).all()


@settings(deadline=None, max_examples=25)
@given(groups=group_shapes(max_groups=3, max_samples=3), at_once=st.sampled_from([1, 50, 2**26]))
def test_the_plain_kernel_for_other_devices_agrees_in_any_portions(groups: Groups, at_once: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "SCORES_AT_ONCE", at_once)
        patch.setattr("policies.attention.attend", kernels.attend_plain)
        patch.setattr("policies.attention.attend_backward", kernels.attend_plain_backward)
        compare(groups, width=16, v_width=24)


def test_two_runs_are_equal_bit_for_bit():
    packed = pack(random_groups(2))
    q, k, v = (heads(2, packed.layout.token_count, 32, seed) for seed in range(3))

    def run() -> list[torch.Tensor]:
        out, _ = packed_attention(NO_MODULE, q, k, v, None, packed_layout=packed.layout)
        return [out.detach(), *torch.autograd.grad(out.square().sum(), (q, k, v))]

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


def test_what_is_not_supported_is_refused():
    packed = pack([([1, 2], [[3]])])
    q = heads(1, 3, 8, 0)
    with pytest.raises(ValueError, match="needs a packed layout"):
        packed_attention(NO_MODULE, q, q, q, None)
    with pytest.raises(ValueError, match="neither a mask nor dropout"):
        packed_attention(NO_MODULE, q, q, q, torch.zeros(1), packed_layout=packed.layout)
    with pytest.raises(ValueError, match="neither a mask nor dropout"):
        packed_attention(NO_MODULE, q, q, q, None, dropout=0.1, packed_layout=packed.layout)
    with pytest.raises(ValueError, match="sliding window"):
        packed_attention(NO_MODULE, q, q, q, None, packed_layout=packed.layout, sliding_window=2)
