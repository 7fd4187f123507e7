"""Context parallelism: ranks divide the tokens of a packed row, for completions too long for one rank's memory.

    divide_tokens_among(model, group)                  every forward of the model is a collective of the group
    packed = divided(model, packed)                    the same row with this rank's share of its tokens
    own = own_targets(packed, packed.predict_index)    the targets whose hidden state this rank computes
    own.joined(values)                                 (C,) the values of all targets, on every rank

All layers but attention work on single tokens, so each rank computes its own. Attention computes a rank's own queries
on the keys and values of all tokens, which the ranks of the group give each other in each layer (all-gather, and of
their gradients reduce-scatter, as Llama 3 trains, 2407.21783 §3.3.2); they are gathered again in the backward, so that
one layer's exist at a time. Rank r of n has chunks r and 2n-1-r of 2n equal chunks:
later tokens see more keys, and so every rank has the same number.

What follows the hidden states is small: log-probs of all targets stand on every rank of the group, every rank computes
the same loss, and its gradient goes back into the rank's own tokens. A gradient of the weights is the sum over ranks.

Axes: T packed tokens, Q tokens of this rank, C targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from policies.layout import build_layout
from policies.model import AutogradContext, causal_lm
from policies.packing import PackedSequences
from policies.token_share import ContextGroup, TokenShare

_ATTRIBUTE = "grpo_context_group"


def divide_tokens_among(model: nn.Module, context: ContextGroup) -> None:
    """Let the ranks of a group divide the tokens of all further forwards of the model."""
    setattr(causal_lm(model), _ATTRIBUTE, context)


def divided(model: nn.Module, packed: PackedSequences) -> PackedSequences:
    """Return the row with this rank's share of its tokens; the row itself without a group, or if it has a share."""
    context: ContextGroup | None = getattr(causal_lm(model), _ATTRIBUTE, None)
    if context is None or packed.layout.share is not None:
        return packed
    share = share_of(packed.layout.token_count, context)
    layout = build_layout(packed.layout.segments, share).to(packed.token_ids.device)
    return replace(packed, layout=layout)


def share_of(token_count: int, context: ContextGroup) -> TokenShare:
    """Return a rank's share of a row."""
    every = [_ranges(token_count, rank, context.size) for rank in range(context.size)]
    counts = [sum(stop - first for first, stop in ranges) for ranges in every]
    longest = max(counts)
    gathered_index = torch.empty(token_count, dtype=torch.int64)
    for rank, ranges in enumerate(every):
        tokens = _indices(ranges)
        gathered_index[tokens] = rank * longest + torch.arange(len(tokens))
    own_index = torch.full((token_count,), -1, dtype=torch.int64)
    own = _indices(every[context.rank])
    own_index[own] = torch.arange(len(own))
    is_spare = not len(own)
    ranges = ((0, 1),) if is_spare else every[context.rank]
    return TokenShare(
        context=context,
        ranges=ranges,
        is_spare=is_spare,
        token_index=_indices(ranges),
        own_index=own_index,
        gathered_index=gathered_index,
        longest=longest,
    )


def own_tokens(packed: PackedSequences, values: Tensor) -> Tensor:
    """Return the rows of (T, …) values that belong to this rank's tokens, (Q, …)."""
    share = packed.layout.share
    return values if share is None else values.index_select(0, share.token_index)


def own_sequences(model: nn.Module, sequences_T: Tensor) -> Tensor:
    """Return (Q,) of the (T,) int64 sequences of a row's tokens; -1 for a token that another rank counts."""
    context: ContextGroup | None = getattr(causal_lm(model), _ATTRIBUTE, None)
    if context is None:
        return sequences_T
    share = share_of(len(sequences_T), context)
    own = sequences_T.index_select(0, share.token_index.to(sequences_T.device))
    return own.fill_(-1) if share.is_spare else own


def context_total(model: nn.Module, constant: Tensor) -> Tensor:
    """Return the sum over the ranks that divide the model's tokens among them, without a gradient; a collective."""
    context: ContextGroup | None = getattr(causal_lm(model), _ATTRIBUTE, None)
    if context is None:
        return constant
    total = constant.detach().clone()
    dist.all_reduce(total, group=context.group)
    return total


@dataclass(frozen=True)
class OwnTargets:
    """The targets that are predicted from this rank's tokens."""

    rows: Tensor
    """(C_own,) index of the hidden state of each among the rank's tokens."""
    chosen: Tensor | None
    """(C_own,) index of each among all targets; None: all are this rank's."""
    count: int
    """C, the number of all targets."""
    share: TokenShare | None

    def of(self, values: Tensor) -> Tensor:
        """Return the rows of (C, …) values, constants such as token ids, that belong to this rank's targets."""
        return values if self.chosen is None else values.index_select(0, self.chosen)

    def joined(self, values: Tensor) -> Tensor:
        """Return (C,) of (C_own,) values of the ranks of the group; a collective, differentiable in the rank's own."""
        if self.chosen is None or self.share is None:
            return values
        joined: Tensor = _JoinTargets.apply(  # type: ignore[no-untyped-call]
            values, self.chosen, self.count, self.share.context.group
        )
        return joined


def own_targets(packed: PackedSequences, index: Tensor) -> OwnTargets:
    """Find the targets whose hidden state this rank computes.

    Args:
        packed: of `divided`.
        index: (C,) index into T of the state that predicts each target.
    """
    share = packed.layout.share
    if share is None:
        return OwnTargets(index, None, len(index), None)
    rows = share.own_index.index_select(0, index)
    chosen = (rows >= 0).nonzero()[:, 0]
    return OwnTargets(rows[chosen], chosen, len(index), share)


def gather_tokens(values: Sequence[Tensor], share: TokenShare) -> tuple[Tensor, ...]:
    """Return (T, …) of each rank's (Q, …) values, in the row's order; one collective."""
    own = torch.cat([value.flatten(1) for value in values], dim=1)
    padded = own.new_zeros(share.longest, own.shape[1])
    if not share.is_spare:
        padded[: len(own)] = own
    gathered = own.new_empty(share.context.size * share.longest, own.shape[1])
    dist.all_gather_into_tensor(gathered, padded, group=share.context.group)
    return _apart(gathered.index_select(0, share.gathered_index), values)


def return_gradients(gradients: Sequence[Tensor], share: TokenShare) -> tuple[Tensor, ...]:
    """Return the sums over ranks of (T, …) gradients, those of this rank's tokens, (Q, …); one collective."""
    # Sums over ranks are float32, whatever dtype the kernels work in.
    flat = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1).float()
    spread = flat.new_zeros(share.context.size * share.longest, flat.shape[1])
    spread.index_copy_(0, share.gathered_index, flat)
    own = flat.new_empty(share.longest, flat.shape[1])
    dist.reduce_scatter_tensor(own, spread, group=share.context.group)
    rows = torch.zeros_like(own[:1]) if share.is_spare else own[: len(share.token_index)]
    return _apart(rows, gradients)


def _apart(together: Tensor, like: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Divide columns into tensors with the shapes and types of others, but for the number of rows."""
    columns = torch.split(together, [value[0].numel() for value in like], dim=1)
    return tuple(
        part.reshape(-1, *value.shape[1:]).to(value.dtype) for part, value in zip(columns, like, strict=True)
    )


def _ranges(token_count: int, rank: int, size: int) -> tuple[tuple[int, int], ...]:
    bounds = [i * token_count // (2 * size) for i in range(2 * size + 1)]
    chunks = [(bounds[i], bounds[i + 1]) for i in (rank, 2 * size - 1 - rank)]
    return tuple((first, stop) for first, stop in chunks if first < stop)


def _indices(ranges: Sequence[tuple[int, int]]) -> Tensor:
    return torch.cat([torch.arange(first, stop) for first, stop in ranges] or [torch.arange(0)])


class _JoinTargets(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: AutogradContext, own: Tensor, chosen: Tensor, count: int, group: dist.ProcessGroup
    ) -> Tensor:
        ctx.save_for_backward(chosen)
        # Each target has one value that is not 0: the sum is exact.
        joined = own.new_zeros(count).index_copy_(0, chosen, own)
        dist.all_reduce(joined, group=group)
        return joined

    @staticmethod
    @once_differentiable
    def backward(ctx: AutogradContext, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (chosen,) = ctx.saved_tensors
        return grad.index_select(0, chosen), None, None, None
