"""Attention over a packed row: linear layers compute no padding, and a shared prompt's keys are never copied.

Registered with transformers as `attn_implementation="grpo_packed"`; transformers passes the forward's keyword
`packed_layout` on to here. Each token attends to its own segment (causal) and, in a completion, to its whole prompt,
the shared prefix. The two parts are separate calls of a fused kernel and are joined by their log-sum-exps, as in ring
and cascade attention: with lse = log(e^lse_segment + e^lse_prefix),

    out = e^(lse_segment - lse) out_segment + e^(lse_prefix - lse) out_prefix

The backward of either part is the kernel's backward with the joined `out` and `lse`: the gradient
dS = P ∘ (dO Vᵀ - rowsum(dO ∘ O)) with P = e^(S - lse) depends on the softmax through these two only.

Nothing is copied per completion and no score matrix is kept. Measured on one CPU core, forward and backward
(`benchmarks/packed_attention.py`): copying [prompt | completion] keys for each completion, with a mask, takes as long
for completions of 80 tokens, 1.2 times as long for 22 and 1.8 times for 1,000 tokens; plain matrix products instead of
the fused kernel take 1.7 to 3.2 times as long.

Axes: T packed tokens, H heads, K head width, n rows of a batch, Q and L queries and keys of a row.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from policies.kernels import attend, attend_backward
from policies.layout import AttentionBatch, AttentionLayout
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
    """Implement transformers' attention interface: queries (1, H, T, K), keys, values (1, H_kv, T, K) → (1, T, H, K).

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
    q_THK, k_THK, v_THK = (x[0].transpose(0, 1) for x in (query, key, value))
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        k_THK, v_THK = (x.repeat_interleave(repeats, dim=1) for x in (k_THK, v_THK))
    dtype = _compute_dtype(query)
    q_THK, k_THK, v_THK = (x.to(dtype) for x in (q_THK, k_THK, v_THK))
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
        k_THK: Tensor,
        v_THK: Tensor,
        layout: AttentionLayout,
        scale: float,
    ) -> Tensor:
        out_THK, lse_TH = _part(
            q_THK, k_THK, v_THK, layout.own_segment, layout.own_segment_index, scale, causal=True
        )
        if layout.shared_prefix:
            assert layout.prefix_query_index is not None
            prefix_out_THK, prefix_lse_TH = _part(
                q_THK, k_THK, v_THK, layout.shared_prefix, layout.prefix_query_index, scale, causal=False
            )
            joined_TH = torch.logaddexp(lse_TH, prefix_lse_TH)
            segment_weight, prefix_weight = (
                (x - joined_TH).exp()[..., None] for x in (lse_TH, prefix_lse_TH)
            )
            out_THK = (segment_weight * out_THK + prefix_weight * prefix_out_THK).to(out_THK.dtype)
            lse_TH = joined_TH
        ctx.save_for_backward(q_THK, k_THK, v_THK, out_THK, lse_TH)
        ctx.layout, ctx.scale = layout, scale
        return out_THK

    @staticmethod
    @once_differentiable
    def backward(ctx: AutogradContext, grad_THK: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        layout: AttentionLayout = ctx.layout
        q_THK, k_THK, v_THK, out_THK, lse_TH = ctx.saved_tensors
        grads = [
            [
                _backward_batch(
                    grad_THK, q_THK, k_THK, v_THK, out_THK, lse_TH, batch, ctx.scale, causal=causal
                )
                for batch in batches
            ]
            for batches, causal in ((layout.own_segment, True), (layout.shared_prefix, False))
        ]
        dq, dk, dv = (_collect([g[i] for g in grads[0]], layout.own_segment_index) for i in range(3))
        if layout.shared_prefix:
            assert layout.prefix_query_index is not None
            assert layout.prefix_key_index is not None
            indices = (layout.prefix_query_index, layout.prefix_key_index, layout.prefix_key_index)
            for i, (total, index) in enumerate(zip((dq, dk, dv), indices, strict=True)):
                total += _collect([g[i] for g in grads[1]], index, fill=0.0)
        return dq, dk, dv, None, None


def _part(
    q_THK: Tensor,
    k_THK: Tensor,
    v_THK: Tensor,
    batches: tuple[AttentionBatch, ...],
    index: Tensor,
    scale: float,
    *,
    causal: bool,
) -> tuple[Tensor, Tensor]:
    """Return (T, H, K_v) outputs and (T, H) float32 lse; a token in none of the batches gets 0 and -inf."""
    outs, lses = [], []
    for batch in batches:
        out, lse = attend(
            _rows(q_THK, batch.queries),
            _rows(k_THK, batch.keys),
            _rows(v_THK, batch.keys),
            batch.key_mask,
            causal=causal,
            scale=scale,
        )
        outs.append(out.transpose(1, 2).flatten(0, 1))
        lses.append(lse.transpose(1, 2).flatten(0, 1))
    fill = None if causal else (0.0, float("-inf"))
    return (
        _collect(outs, index, None if fill is None else fill[0]),
        _collect(lses, index, None if fill is None else fill[1]),
    )


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
