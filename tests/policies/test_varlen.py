"""policies/varlen.py: what surrounds the kernels, with their contract in plain products in their place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from torch import Tensor

from policies import limits, varlen
from policies.attention import packed_attention
from policies.packing import pack
from tests.oracles.policies_oracle import Groups
from tests.policies.test_attention import NO_MODULE, compare, heads
from tests.policies.tiny import group_shapes, random_groups

CPU = torch.device("cpu")


def rows_of(q: Tensor, q_ends: Tensor, k_ends: Tensor) -> Iterator[tuple[slice, slice]]:
    assert q_ends.dtype == k_ends.dtype == torch.int32
    assert q_ends[0] == k_ends[0] == 0
    for i in range(len(q_ends) - 1):
        yield slice(int(q_ends[i]), int(q_ends[i + 1])), slice(int(k_ends[i]), int(k_ends[i + 1]))
    assert q_ends[-1] == len(q)


def scores_of(q: Tensor, k: Tensor, causal: bool, scale: float) -> Tensor:
    """(H, Q, K) scores of a row; a key head for all its query heads; the causal corner is at the bottom right."""
    repeats = q.shape[1] // k.shape[1]
    scores = torch.einsum("qhd,khd->hqk", q, k.repeat_interleave(repeats, 1)) * scale
    if causal:
        mask = torch.ones(len(q), len(k), dtype=torch.bool).tril(len(k) - len(q))
        scores = scores.masked_fill(~mask, -math.inf)
    return scores


def check(q: Tensor, k: Tensor, v: Tensor, max_q: int, max_k: int, q_ends: Tensor, k_ends: Tensor) -> None:
    """Check what FlashAttention demands of its arguments."""
    assert q.shape[2] == k.shape[2] == v.shape[2] <= 256
    assert q.shape[2] % 8 == 0
    assert q.shape[1] % k.shape[1] == 0
    assert k.shape == v.shape
    assert all(x.is_contiguous() for x in (q, k, v))
    assert (q_ends.diff().max(), k_ends.diff().max()) == (max_q, max_k)
    assert k_ends[-1] == len(k)


def flash_forward(
    q: Tensor, k: Tensor, v: Tensor, q_ends: Tensor, k_ends: Tensor, max_q: int, max_k: int, dropout: float,
    causal: bool, *, return_debug_mask: bool, scale: float,
) -> tuple[Any, ...]:  # fmt: skip
    """Do what `aten::_flash_attention_forward` does, row by row."""
    check(q, k, v, max_q, max_k, q_ends, k_ends)
    assert not dropout
    assert not return_debug_mask
    out, lse = torch.empty_like(q), torch.empty(q.shape[1], len(q))
    for a, b in rows_of(q, q_ends, k_ends):
        scores = scores_of(q[a].float(), k[b].float(), causal, scale)
        lse[:, a] = scores.logsumexp(-1)
        values = v[b].float().repeat_interleave(q.shape[1] // k.shape[1], 1)
        out[a] = torch.einsum("hqk,khd->qhd", scores.softmax(-1), values).to(q.dtype)
    return out, lse, None, None, None


def flash_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, q_ends: Tensor, k_ends: Tensor,
    max_q: int, max_k: int, dropout: float, causal: bool, rng_state: Tensor, unused: Tensor, *, scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Do what `aten::_flash_attention_backward` does, row by row."""
    check(q, k, v, max_q, max_k, q_ends, k_ends)
    assert grad.shape == q.shape == out.shape
    assert lse.shape == (q.shape[1], len(q))
    assert lse.is_contiguous()
    assert not dropout
    repeats = q.shape[1] // k.shape[1]
    dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for a, b in rows_of(q, q_ends, k_ends):
        probs = (scores_of(q[a].float(), k[b].float(), causal, scale) - lse[:, a, None]).exp()
        grads, keys, values = grad[a].float(), *(x[b].float().repeat_interleave(repeats, 1) for x in (k, v))
        delta = (grads * out[a].float()).sum(-1).T[..., None]
        dscores = probs * (torch.einsum("qhd,khd->hqk", grads, values) - delta) * scale
        dq[a] = torch.einsum("hqk,khd->qhd", dscores, keys).to(q.dtype)
        for total, each in ((dk, torch.einsum("hqk,qhd->khd", dscores, q[a].float())),
                            (dv, torch.einsum("hqk,qhd->khd", probs, grads))):  # fmt: skip
            total[b] = each.unflatten(1, (-1, repeats)).sum(2).to(q.dtype)
    return dq, dk, dv


@pytest.fixture(scope="module", autouse=True)
def _stand_ins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(varlen, "FORWARD", flash_forward)
        patch.setattr(varlen, "BACKWARD", flash_backward)
        patch.setattr(varlen, "usable", lambda *_: True)
        varlen.agrees.cache_clear()
        yield
    varlen.agrees.cache_clear()


@given(group_shapes(max_groups=3, max_samples=3, longest=20))
def test_equals_a_dense_mask_with_its_gradients(groups: Groups) -> None:
    compare(groups)


@pytest.mark.parametrize(("q_heads", "kv_heads"), [(2, 2), (6, 2), (3, 1)])
@pytest.mark.parametrize(("width", "v_width"), [(24, 16), (16, 24), (12, 12), (80, 64)])
def test_widths_and_shared_key_heads(q_heads: int, kv_heads: int, width: int, v_width: int) -> None:
    compare(random_groups(1), q_heads, kv_heads, width, v_width)


def test_gradients_equal_those_of_the_cpus_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack(random_groups(3))
    q, k, v = (heads(n, packed.layout.token_count, 16, seed) for seed, n in enumerate((4, 2, 2)))

    def run() -> tuple[Tensor, ...]:
        out, _ = packed_attention(NO_MODULE, q, k, v, None, packed_layout=packed.layout)
        return out, *torch.autograd.grad(out.square().sum(), (q, k, v))

    fused = run()
    monkeypatch.setattr(varlen, "usable", lambda *_: False)
    for mine, theirs in zip(fused, run(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5 * float(theirs.detach().abs().max()), rtol=0)


def test_ragged_rows_are_the_batches_without_their_padding() -> None:
    for part in pack(random_groups(4)).layout.parts:
        rows = part.ragged
        found = {
            (tuple(rows.queries[a:b].tolist()), tuple(rows.keys[c:d].tolist()))
            for (a, b), (c, d) in zip(
                zip(rows.query_ends[:-1], rows.query_ends[1:], strict=True),
                zip(rows.key_ends[:-1], rows.key_ends[1:], strict=True),
                strict=True,
            )
        }
        padded = {
            (tuple(dict.fromkeys(queries)), tuple(dict.fromkeys(keys)))
            for batch in part.batches
            for queries, keys in zip(batch.queries.tolist(), batch.keys.tolist(), strict=True)
        }
        assert found == padded


def test_a_kernel_that_computes_something_else_is_reported_and_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for dtype in (torch.bfloat16, torch.float32):
        assert varlen.agrees(CPU, dtype, 24, 16)

    def wrong_forward(*arguments: Any, **options: Any) -> tuple[Any, ...]:
        out, lse, *rest = flash_forward(*arguments, **options)
        return out, lse + 0.2, *rest

    def causal_ignored(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
        return flash_backward(*arguments[:11], False, *arguments[12:], **options)

    def nan(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
        dq, dk, dv = flash_backward(*arguments, **options)
        return dq, dk * math.nan, dv

    def absent(*_: Any, **__: Any) -> None:
        raise RuntimeError("no kernel image is available")

    for name, wrong, word in (
        ("FORWARD", wrong_forward, "differs"),
        ("BACKWARD", causal_ignored, "differs"),
        ("BACKWARD", nan, "differs"),
        ("FORWARD", absent, "no kernel image"),
    ):
        varlen.agrees.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(varlen, name, wrong)
            with pytest.warns(UserWarning, match=word):
                assert not varlen.agrees(CPU, torch.bfloat16, 24, 16)
    varlen.agrees.cache_clear()


def test_pytorch_takes_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own shape checks of both operators, on tensors without data: no kernel runs."""
    monkeypatch.setattr(varlen, "FORWARD", torch.ops.aten._flash_attention_forward)
    monkeypatch.setattr(varlen, "BACKWARD", torch.ops.aten._flash_attention_backward)
    with torch.device("meta"):
        q, grad = (torch.empty(40, 4, width, dtype=torch.bfloat16) for width in (192, 128))
        k, v = (torch.empty(40, 2, width, dtype=torch.bfloat16) for width in (192, 128))
        ends, index = torch.empty(3, dtype=torch.int32), torch.empty(40, dtype=torch.int64)
    rows = varlen.Ragged(index, index, ends, ends, 33, 33)
    out, lse = varlen.forward(q, k, v, rows, causal=True, scale=0.1)
    assert (out.shape, out.dtype) == ((40, 4, 128), torch.bfloat16)
    assert (lse.shape, lse.dtype) == ((40, 4), torch.float32)
    grads = varlen.backward(grad, q, k, v, out, lse, rows, causal=True, scale=0.1)
    assert [tuple(g.shape) for g in grads] == [(40, 4, 192), (40, 2, 192), (40, 2, 128)]


def test_shared_tokens_gather_key_heads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads that are gathered in turns keep their key heads together with their query heads."""
    monkeypatch.setattr(limits, "GATHERED_ELEMENTS", 1)
    compare(random_groups(5), 6, 3)
