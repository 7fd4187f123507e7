"""Log-probabilities and entropies of packed tokens; only a chunk of the (C, V) logits exists at a time.

    logprobs, entropy = completion_logprobs(model, pack(groups), temperature=1.0)      # both (C,) float32

Axes: C targets, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from policies.context import divided, own_targets, own_tokens
from policies.model import AutogradContext, causal_lm
from policies.packing import PackedSequences, pack_documents
from policies.shards import whole

PIECE_ELEMENTS = 2**22
"""Logits that one elementwise pass over a chunk works on (16 MiB in float32)."""


def completion_logprobs(
    model: nn.Module, packed: PackedSequences, *, temperature: float = 1.0, chunk_tokens: int = 512
) -> tuple[Tensor, Tensor]:
    """Compute the log-probability of every target and the entropy of its distribution.

    Args:
        model: a policy of `load_policy` (attention "grpo_packed"), possibly under LoRA.
        packed: sequences, on the model's device.
        temperature: divisor of the logits; the one that the engine sampled with.
        chunk_tokens: rows of logits that exist at one time.
    Returns:
        (C,) float32 log-probabilities and (C,) float32 entropies in nats, both differentiable.
    """
    packed = divided(model, packed)
    states = hidden_states(model, packed)
    return target_logprobs(model, packed, states, temperature=temperature, chunk_tokens=chunk_tokens)


def target_logprobs(
    model: nn.Module,
    packed: PackedSequences,
    states_TD: Tensor,
    *,
    temperature: float = 1.0,
    chunk_tokens: int = 512,
) -> tuple[Tensor, Tensor]:
    """Compute `completion_logprobs` from the `hidden_states` of the same row."""
    own = own_targets(packed, packed.predict_index)
    logprobs, entropy = token_logprobs(
        states_TD.index_select(0, own.rows),
        whole(causal_lm(model).get_output_embeddings().weight),
        own.of(packed.target_ids),
        temperature=temperature,
        chunk_tokens=chunk_tokens,
    )
    return own.joined(logprobs), own.joined(entropy)


def sequence_logprobs(model: nn.Module, token_ids: Sequence[int]) -> Tensor:
    """Return (L-1,) float32 log-probs of tokens 1, 2, … given those before them, without a gradient."""
    device = causal_lm(model).get_input_embeddings().weight.device
    with torch.no_grad():
        return completion_logprobs(model, pack_documents([token_ids]).to(device))[0]


def hidden_states(model: nn.Module, packed: PackedSequences) -> Tensor:
    """Return final hidden states, after the last norm: (T, D), or (Q, D) of this rank's tokens.

    Args:
        model: a policy.
        packed: sequences on the model's device; of `policies.context.divided` if ranks divide the model's tokens.
    """
    output = causal_lm(model).get_decoder()(
        input_ids=own_tokens(packed, packed.token_ids)[None],
        position_ids=own_tokens(packed, packed.position_ids)[None],
        packed_layout=packed.layout,
        use_cache=False,
    )
    return output.last_hidden_state[0]


def token_logprobs(
    states_CD: Tensor,
    head_VD: Tensor,
    target_ids: Tensor,
    *,
    temperature: float = 1.0,
    chunk_tokens: int = 512,
) -> tuple[Tensor, Tensor]:
    """Apply output head, log-softmax and entropy, chunk by chunk; the backward recomputes each chunk's logits.

    Under autocast the matrix products have its dtype; log-sum-exp, entropy and the head's gradient are always float32.

    Returns:
        (C,) float32 log-probabilities and (C,) float32 entropies, in nats.
    """
    device = states_CD.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states_CD.dtype
    result: tuple[Tensor, Tensor] = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
        states_CD, head_VD, target_ids, temperature, chunk_tokens, dtype
    )
    return result


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: AutogradContext,
        states_CD: Tensor,
        head_VD: Tensor,
        target_ids: Tensor,
        temperature: float,
        chunk_tokens: int,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        states, head = states_CD.to(dtype), head_VD.to(dtype)
        count = len(target_ids)
        lse, logprobs, entropy = (
            torch.empty(count, dtype=torch.float32, device=states.device) for _ in range(3)
        )
        for rows in _slices(0, count, chunk_tokens):
            logits = states[rows] @ head.T
            for piece in _slices(rows.start, rows.stop, _piece_rows(head)):
                scaled = logits[_within(piece, rows)].float().div_(temperature)
                lse[piece] = scaled.logsumexp(-1)
                log_probs = scaled.sub_(lse[piece, None])
                logprobs[piece] = log_probs.gather(1, target_ids[piece, None])[:, 0]
                # -Σ p log p, not lse - Σ p z: that cancels where logits are large and the entropy small.
                entropy[piece] = log_probs.exp().mul_(log_probs).sum(-1).neg_()
        ctx.save_for_backward(states_CD, head_VD, target_ids, lse, entropy)
        ctx.temperature, ctx.chunk_tokens, ctx.dtype = temperature, chunk_tokens, dtype
        ctx.set_materialize_grads(False)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: AutogradContext, grad_logprobs: Tensor | None, grad_entropy: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        states_CD, head_VD, target_ids, lse, entropy = ctx.saved_tensors
        states, head = states_CD.to(ctx.dtype), head_VD.to(ctx.dtype)
        need_states, need_head = ctx.needs_input_grad[:2]
        grad_states = torch.empty_like(states) if need_states else None
        grad_head = torch.zeros_like(head_VD, dtype=torch.float32) if need_head else None
        for rows in _slices(0, len(target_ids), ctx.chunk_tokens):
            logits = states[rows] @ head.T
            for piece in _slices(rows.start, rows.stop, _piece_rows(head)):
                into = logits[_within(piece, rows)]
                log_probs = into.float().div_(ctx.temperature).sub_(lse[piece, None])
                # d logp(t) / d z_v = 1[v=t] - p_v;  d H / d z_v = -p_v (log p_v + H)
                coefficient = torch.zeros_like(lse[piece])[:, None]
                if grad_logprobs is not None:
                    coefficient = coefficient - grad_logprobs[piece, None]
                if grad_entropy is not None:
                    coefficient = coefficient - grad_entropy[piece, None] * (log_probs + entropy[piece, None])
                grad = log_probs.exp_().mul_(coefficient)
                if grad_logprobs is not None:
                    grad.scatter_add_(1, target_ids[piece, None], grad_logprobs[piece, None])
                into.copy_(grad.div_(ctx.temperature))
            grad_logits = logits
            if grad_states is not None:
                torch.mm(grad_logits, head, out=grad_states[rows])
            if grad_head is None:
                continue
            if ctx.dtype == torch.float32:
                grad_head.addmm_(grad_logits.T, states[rows])
            else:
                grad_head += grad_logits.T @ states[rows]
        return (
            None if grad_states is None else grad_states.to(states_CD.dtype),
            None if grad_head is None else grad_head.to(head_VD.dtype),
            None,
            None,
            None,
            None,
        )


def _slices(start: int, stop: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, stop)) for i in range(start, stop, size)]


def _within(piece: slice, chunk: slice) -> slice:
    return slice(piece.start - chunk.start, piece.stop - chunk.start)


def _piece_rows(head_VD: Tensor) -> int:
    """Return the rows of a chunk whose float32 softmax is computed at one time: few enough to stay in cache."""
    return max(1, PIECE_ELEMENTS // len(head_VD))
