"""Attention that returns its log-sum-exp: the fused CPU kernel, and plain matrix products for other devices.

PyTorch's `scaled_dot_product_attention` does not return the log-sum-exp, which is needed to join two parts; these
functions call the operators that it is built on.

Shapes: q, out, grad (n, H, Q, K); k, v (n, H, L, K); lse (n, H, Q) float32; mask (n, 1, 1, L) float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

SCORES_AT_ONCE = 2**26
"""Elements of the score matrix that exist at one time in the plain kernel (256 MiB in float32)."""

_aten = torch.ops.aten


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """Compute softmax attention and its log-sum-exp; with `causal` query i sees keys 0 … i."""
    if q.device.type != "cpu":
        return attend_plain(q, k, v, mask, causal=causal, scale=scale)
    width = v.shape[-1]
    q, k, v = _same_width(q, k, v)
    out, lse = _aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, causal, attn_mask=mask, scale=scale
    )
    return out[..., :width], lse


def attend_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    mask: Tensor | None,
    *,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute gradients of q, k, v; `out` and `lse` may come from a softmax over more keys than these."""
    if q.device.type != "cpu":
        return attend_plain_backward(grad, q, k, v, out, lse, mask, causal=causal, scale=scale)
    q_width, v_width = q.shape[-1], v.shape[-1]
    q, k, v = _same_width(q, k, v)
    grad, out = (_widen(x, v.shape[-1]) for x in (grad, out))
    dq, dk, dv = _aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad, q, k, v, out, lse, 0.0, causal, attn_mask=mask, scale=scale
    )
    return dq[..., :q_width], dk[..., :q_width], dv[..., :v_width]


def attend_plain(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """Compute `attend` on any device, with at most SCORES_AT_ONCE scores at a time."""
    out = q.new_empty(*q.shape[:-1], v.shape[-1])
    lse = torch.empty(q.shape[:-1], dtype=torch.float32, device=q.device)
    for rows, queries, keys in _pieces(q, k, causal):
        scores = _scores(q, k, mask, rows, queries, keys, causal, scale)
        lse[rows, :, queries] = scores.logsumexp(-1)
        probs = scores.sub_(lse[rows, :, queries, None]).exp_()
        out[rows, :, queries] = probs.to(v.dtype) @ v[rows, :, keys]
    return out, lse


def attend_plain_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    mask: Tensor | None,
    *,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `attend_backward` on any device: dS = P ∘ (dO Vᵀ - rowsum(dO ∘ O)), P = e^(S - lse)."""
    dq, dk, dv = (torch.zeros_like(x, dtype=torch.float32) for x in (q, k, v))
    delta = (grad.float() * out.float()).sum(-1, keepdim=True)
    for rows, queries, keys in _pieces(q, k, causal):
        scores = _scores(q, k, mask, rows, queries, keys, causal, scale)
        probs = scores.sub_(lse[rows, :, queries, None]).exp_()
        piece = grad[rows, :, queries]
        dv[rows, :, keys] += probs.to(piece.dtype).transpose(-1, -2) @ piece
        grad_probs = (piece @ v[rows, :, keys].transpose(-1, -2)).float()
        grad_scores = grad_probs.sub_(delta[rows, :, queries]).mul_(probs).mul_(scale).to(q.dtype)
        dq[rows, :, queries] += grad_scores @ k[rows, :, keys]
        dk[rows, :, keys] += grad_scores.transpose(-1, -2) @ q[rows, :, queries]
    return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)


def _scores(
    q: Tensor,
    k: Tensor,
    mask: Tensor | None,
    rows: slice,
    queries: slice,
    keys: slice,
    causal: bool,
    scale: float,
) -> Tensor:
    scores = (q[rows, :, queries] @ k[rows, :, keys].transpose(-1, -2)).float().mul_(scale)
    if mask is not None:
        scores += mask[rows, :, :, keys]
    if causal:
        query_index = torch.arange(queries.start, queries.stop, device=q.device)
        key_index = torch.arange(keys.start, keys.stop, device=q.device)
        scores.masked_fill_(query_index[:, None] < key_index[None, :], float("-inf"))
    return scores


def _pieces(q: Tensor, k: Tensor, causal: bool) -> Iterator[tuple[slice, slice, slice]]:
    """Yield rows, queries and the keys that these see, such that no piece has more than SCORES_AT_ONCE scores."""
    count, heads, query_count, _ = q.shape
    key_count = k.shape[2]
    query_step = max(1, min(query_count, SCORES_AT_ONCE // (heads * key_count)))
    row_step = max(1, SCORES_AT_ONCE // (heads * key_count * query_step))
    for row in range(0, count, row_step):
        for query in range(0, query_count, query_step):
            stop = min(query + query_step, query_count)
            yield slice(row, row + row_step), slice(query, stop), slice(0, stop if causal else key_count)


def _same_width(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # The CPU kernel needs equal widths; MLA's keys have a rotary part and are wider than its values.
    width = max(q.shape[-1], v.shape[-1])
    return _widen(q, width), _widen(k, width), _widen(v, width)


def _widen(x: Tensor, width: int) -> Tensor:
    return x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1]))
