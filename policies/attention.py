"""Attention over a packed row: linear layers compute no padding, and a shared prompt's keys are never copied.

Registered with transformers as `attn_implementation="grpo_packed"`; transformers passes the forward's keyword
`packed_layout` on to here. Each token attends to its own segment (causal) and, in a completion, to its whole prompt,
the shared prefix. The parts are separate calls of a fused kernel and are joined by their log-sum-exps, as in ring and
cascade attention: with lse = log(e^lse_segment + e^lse_prefix),

    out = e^(lse_segment - lse) out_segment + e^(lse_prefix - lse) out_prefix

The backward of each part is the kernel's backward with the joined `out` and `lse`: the gradient
dS = P ∘ (dO Vᵀ - rowsum(dO ∘ O)) with P = e^(S - lse) depends on the softmax through these two only.

A rank that has a share of the row's tokens (policies/context.py) computes their queries and gathers the keys and values
of all.

Nothing is copied per completion and no score matrix is kept. Measured on one CPU core, forward and backward
(`benchmarks/packed_attention.py`): copying [prompt | completion] keys for each completion, with a mask, takes as long
for completions of 80 tokens, 1.2 times as long for 22 and 1.8 times for 1,000 tokens; plain matrix products instead of
the fused kernel take 1.7 to 3.2 times as long.

Axes: T packed tokens (on a rank with a share of them, its own: Q), H heads, K head width, n rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from policies import limits, varlen
from policies.context import gather_tokens, return_gradients
from policies.kernels import attend, attend_backward
from policies.layout import AttentionBatch, AttentionLayout, AttentionPart
from policies.model import AutogradContext

NAME = "grpo_packed"


def register() -> None:
    """Register `NAME` with transformers; further calls change nothing."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed_layout: AttentionLayout | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Implement transformers' attention interface: queries (1, H, Q, K), keys, values (1, H_kv, Q, K) → (1, Q, H, K).

    Raises:
        ValueError: there is no layout, a mask or dropout is given, or a window is shorter than a sequence.
    """
    if packed_layout is None:
        raise ValueError(
            f'attention "{NAME}" needs a packed layout: call policies.logprobs, or '
            'model.set_attn_implementation("sdpa") for a plain forward'
        )
    if attention_mask is not None or dropout:
        raise ValueError(f'attention "{NAME}" takes neither a mask nor dropout')
    if sliding_window is not None and packed_layout.max_length > sliding_window:
        raise ValueError(
            f"a sequence of {packed_layout.max_length} tokens exceeds the sliding window of {sliding_window}"
        )
    dtype = _compute_dtype(query)
    q_THK, k_THK, v_THK = (x[0].transpose(0, 1).to(dtype) for x in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out_THK: Tensor = _PackedAttention.apply(  # type: ignore[no-untyped-call]
        q_THK, k_THK, v_THK, packed_layout, scale
    )
    return out_THK[None].to(query.dtype), None


def _compute_dtype(query: Tensor) -> torch.dtype:
    device = query.device.type
    if device == "cpu":
        # On a CPU the fused kernel is not faster in bfloat16, and its backward is up to ten times slower.
        return torch.float32
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype


class _PackedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: AutogradContext,
        q_THK: Tensor,
        own_k_THK: Tensor,
        own_v_THK: Tensor,
        layout: AttentionLayout,
        scale: float,
    ) -> Tensor:
        outs, lses = [], []
        ctx.fused = varlen.usable(q_THK, own_v_THK)
        for heads, kv_heads in _turns(q_THK, own_k_THK, own_v_THK, layout):
            q = q_THK[:, heads]
            k, v = _keys_and_values(
                q, own_k_THK[:, kv_heads], own_v_THK[:, kv_heads], layout, repeat=not ctx.fused
            )
            out, lse = _joined(q, k, v, layout, scale, fused=ctx.fused)
            outs.append(out)
            lses.append(lse)
        out_THK, lse_TH = _side_by_side(outs), _side_by_side(lses)
        # Keys and values of other ranks and repeated heads are made again in the backward.
        ctx.save_for_backward(q_THK, own_k_THK, own_v_THK, out_THK, lse_TH)
        ctx.layout, ctx.scale = layout, scale
        return out_THK

    @staticmethod
    @once_differentiable
    def backward(ctx: AutogradContext, grad_THK: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        layout: AttentionLayout = ctx.layout
        q_THK, own_k_THK, own_v_THK, out_THK, lse_TH = ctx.saved_tensors
        found = []
        for heads, kv_heads in _turns(q_THK, own_k_THK, own_v_THK, layout):
            q, grad, out, lse = (x[:, heads] for x in (q_THK, grad_THK, out_THK, lse_TH))
            own_k, own_v = own_k_THK[:, kv_heads], own_v_THK[:, kv_heads]
            k, v = _keys_and_values(q, own_k, own_v, layout, repeat=not ctx.fused)
            compute = _ragged_backward if ctx.fused else _backward_parts
            dq, dk, dv = compute(grad, q, k, v, out, lse, layout, ctx.scale)
            repeats = dk.shape[1] // own_k.shape[1]
            if repeats > 1:
                dk, dv = (x.view(len(x), -1, repeats, x.shape[-1]).sum(2) for x in (dk, dv))
            if layout.share is not None:
                dk, dv = return_gradients((dk, dv), layout.share)
            found.append((dq, dk, dv))
        dq, dk, dv = (_side_by_side([each[i] for each in found]) for i in range(3))
        return dq, dk, dv, None, None


def _turns(
    q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, layout: AttentionLayout
) -> Iterator[tuple[slice, slice]]:
    """Yield the heads that are computed together, of queries and of keys: all where nothing is gathered."""
    kv_heads = k_THK.shape[1]
    at_once = kv_heads
    if layout.share is not None:
        one = layout.token_count * (k_THK.shape[-1] + v_THK.shape[-1])
        at_once = max(1, min(kv_heads, limits.GATHERED_ELEMENTS // one))
    repeats = q_THK.shape[1] // kv_heads
    for first in range(0, kv_heads, at_once):
        stop = min(first + at_once, kv_heads)
        yield slice(first * repeats, stop * repeats), slice(first, stop)


def _side_by_side(heads: list[Tensor]) -> Tensor:
    return heads[0] if len(heads) == 1 else torch.cat(heads, dim=1)


def _joined(
    q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, layout: AttentionLayout, scale: float, *, fused: bool
) -> tuple[Tensor, Tensor]:
    """Return outputs and log-sum-exps over all parts of the layout."""
    own, *others = layout.parts
    compute = _ragged_part if fused else _part
    out_THK, lse_TH = compute(q_THK, k_THK, v_THK, own, scale)
    for part in others:
        part_out_THK, part_lse_TH = compute(q_THK, k_THK, v_THK, part, scale)
        joined_TH = torch.logaddexp(lse_TH, part_lse_TH)
        weight, part_weight = ((x - joined_TH).exp()[..., None] for x in (lse_TH, part_lse_TH))
        out_THK = (weight * out_THK + part_weight * part_out_THK).to(out_THK.dtype)
        lse_TH = joined_TH
    return out_THK, lse_TH


def _backward_parts(
    grad_THK: Tensor,
    q_THK: Tensor,
    k_THK: Tensor,
    v_THK: Tensor,
    out_THK: Tensor,
    lse_TH: Tensor,
    layout: AttentionLayout,
    scale: float,
) -> list[Tensor]:
    """Return gradients of q, k and v, summed over the parts of the layout."""
    totals: list[Tensor] = []
    for part in layout.parts:
        rows = [
            _backward_batch(grad_THK, q_THK, k_THK, v_THK, out_THK, lse_TH, batch, scale, causal=part.causal)
            for batch in part.batches
        ]
        keys = (part.key_index, part.has_all_keys)
        placed = ((part.query_index, part.has_all_queries), keys, keys)
        found = [
            _collect([grads[i] for grads in rows], index, None if complete else 0.0)
            for i, (index, complete) in enumerate(placed)
        ]
        if not totals:
            totals = found
            continue
        for total, grad in zip(totals, found, strict=True):
            total += grad
    return totals


def _keys_and_values(
    q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, layout: AttentionLayout, *, repeat: bool
) -> tuple[Tensor, Tensor]:
    """Return keys and values of all tokens of the row; with `repeat` they have as many heads as the queries."""
    if layout.share is not None:
        k_THK, v_THK = gather_tokens((k_THK, v_THK), layout.share)
    repeats = q_THK.shape[1] // k_THK.shape[1]
    if repeat and repeats > 1:
        k_THK, v_THK = (x.repeat_interleave(repeats, dim=1) for x in (k_THK, v_THK))
    return k_THK, v_THK


def _part(
    q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, part: AttentionPart, scale: float
) -> tuple[Tensor, Tensor]:
    """Return (Q, H, K_v) outputs and (Q, H) float32 lse; a query in none of the batches gets 0 and -inf."""
    outs, lses = [], []
    for batch in part.batches:
        out, lse = attend(
            _rows(q_THK, batch.queries),
            _rows(k_THK, batch.keys),
            _rows(v_THK, batch.keys),
            batch.key_mask,
            causal=part.causal,
            scale=scale,
        )
        outs.append(out.transpose(1, 2).flatten(0, 1))
        lses.append(lse.transpose(1, 2).flatten(0, 1))
    complete = part.has_all_queries
    return (
        _collect(outs, part.query_index, None if complete else 0.0),
        _collect(lses, part.query_index, None if complete else float("-inf")),
    )


def _ragged_part(
    q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, part: AttentionPart, scale: float
) -> tuple[Tensor, Tensor]:
    """Compute `_part` with the kernels for sequences of different lengths."""
    rows = part.ragged
    out_qHK, lse_qH = varlen.forward(
        q_THK[rows.queries], k_THK[rows.keys], v_THK[rows.keys], rows, causal=part.causal, scale=scale
    )
    out_THK = out_qHK.new_zeros(len(q_THK), *out_qHK.shape[1:]).index_copy_(0, rows.queries, out_qHK)
    lse_TH = lse_qH.new_full((len(q_THK), lse_qH.shape[1]), float("-inf"))
    return out_THK, lse_TH.index_copy_(0, rows.queries, lse_qH)


def _ragged_backward(
    grad_THK: Tensor,
    q_THK: Tensor,
    k_THK: Tensor,
    v_THK: Tensor,
    out_THK: Tensor,
    lse_TH: Tensor,
    layout: AttentionLayout,
    scale: float,
) -> list[Tensor]:
    """Compute `_backward_parts` with the kernels for sequences of different lengths."""
    totals = [torch.zeros_like(x, dtype=torch.float32) for x in (q_THK, k_THK, v_THK)]
    for part in layout.parts:
        rows = part.ragged
        found = varlen.backward(
            grad_THK[rows.queries],
            q_THK[rows.queries],
            k_THK[rows.keys],
            v_THK[rows.keys],
            out_THK[rows.queries],
            lse_TH[rows.queries],
            rows,
            causal=part.causal,
            scale=scale,
        )
        # A query and a key are in at most one row of a part, so no sum depends on an order.
        for total, grad, index in zip(totals, found, (rows.queries, rows.keys, rows.keys), strict=True):
            total.index_add_(0, index, grad.float())
    return [total.to(x.dtype) for total, x in zip(totals, (q_THK, k_THK, v_THK), strict=True)]


def _backward_batch(
    grad_THK: Tensor,
    q_THK: Tensor,
    k_THK: Tensor,
    v_THK: Tensor,
    out_THK: Tensor,
    lse_TH: Tensor,
    batch: AttentionBatch,
    scale: float,
    *,
    causal: bool,
) -> list[Tensor]:
    """Return gradients of q, k, v as flat rows; the output gradients of padded queries are set to 0."""
    grad = _rows(grad_THK, batch.queries)
    if batch.query_padding is not None:
        grad.transpose(1, 2).flatten(0, 1).index_fill_(0, batch.query_padding, 0.0)
    lse = lse_TH.index_select(0, batch.queries.flatten()).view(*batch.queries.shape, -1).transpose(1, 2)
    grads = attend_backward(
        grad,
        _rows(q_THK, batch.queries),
        _rows(k_THK, batch.keys),
        _rows(v_THK, batch.keys),
        _rows(out_THK, batch.queries),
        lse,
        batch.key_mask,
        causal=causal,
        scale=scale,
    )
    return [g.transpose(1, 2).flatten(0, 1) for g in grads]


def _rows(x_THK: Tensor, index: Tensor) -> Tensor:
    """Return the rows of (n, L) indices as an (n, H, L, K) view of a new (n, L, H, K) copy."""
    return x_THK.index_select(0, index.flatten()).view(*index.shape, *x_THK.shape[1:]).transpose(1, 2)


def _collect(rows: list[Tensor], index: Tensor, fill: float | None = None) -> Tensor:
    """Return the flat rows of all batches in packed order; `fill` is the value of a token in none of them."""
    if fill is not None:
        rows = [*rows, rows[0].new_full((1, *rows[0].shape[1:]), fill)]
    return (rows[0] if len(rows) == 1 else torch.cat(rows)).index_select(0, index)
