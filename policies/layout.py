"""Which tokens of a packed row attend to which, as batches for attention kernels. Built once per pack.

A packed row is a list of segments. Every token attends to its own segment up to itself (`own_segment` batches, causal).
A completion's token also attends to its whole prompt, the prefix that all completions share (`shared_prefix` batches).
There one row of queries holds the tokens of all completions of a prompt, so the prompt's keys are never copied per
completion.

    prompt a | a0 | a1 | prompt b | b0      own segment:    [a], [a0], [a1], [b], [b0]    causal
                                            shared prefix:  [a0 a1] → [a],  [b0] → [b]    masks for padding only

Rows of unequal length are padded inside a batch, at most by a quarter; linear layers never compute padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

PAD_SHARE = 0.25
PAD_TOKENS = 256
"""A batch takes rows while its padding is at most this fraction of its tokens, or at most so many tokens: a further
kernel call costs more than a few padded rows."""


@dataclass(frozen=True)
class Segment:
    """`length` tokens from index `start`; `prompt` is the number of the segment that they continue."""

    start: int
    length: int
    prompt: int | None = None


@dataclass(frozen=True)
class AttentionBatch:
    """n rows of queries and n rows of keys, as int64 indices into T; a row is padded with its last token."""

    queries: Tensor
    """(n, Q) indices of the queries."""
    keys: Tensor
    """(n, K) indices of the keys; the same tensor as `queries` in an own-segment batch."""
    query_padding: Tensor | None
    """(p,) indices of padding in `queries.flatten()`; None without padding."""
    key_padding: Tensor | None
    """(p,) indices of padding in `keys.flatten()`; None without padding."""
    key_mask: Tensor | None
    """(n, 1, 1, K) float32, -inf at padded keys; None if there are none or if causality hides them."""


@dataclass(frozen=True)
class AttentionLayout:
    """Every token is in one own-segment row, and in at most one shared-prefix row, as query or as key."""

    token_count: int
    """T, the number of packed tokens."""
    max_length: int
    """Longest prompt plus completion, in tokens."""
    own_segment: tuple[AttentionBatch, ...]
    """Batches of segments that attend to themselves."""
    own_segment_index: Tensor
    """(T,) index of each token in the flattened, concatenated queries of `own_segment`."""
    shared_prefix: tuple[AttentionBatch, ...]
    """Batches of completions that attend to their prompts; empty without completions."""
    prefix_query_index: Tensor | None
    """(T,) index of each token in the queries of `shared_prefix`; their total number for a token in none."""
    prefix_key_index: Tensor | None
    """(T,) index of each token in the keys of `shared_prefix`; their total number for a token in none."""

    def to(self, device: torch.device | str) -> AttentionLayout:
        """Return a copy on another device."""

        def move(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.to(device)

        def move_batch(batch: AttentionBatch) -> AttentionBatch:
            queries = batch.queries.to(device)
            return AttentionBatch(
                queries=queries,
                keys=queries if batch.keys is batch.queries else batch.keys.to(device),
                query_padding=move(batch.query_padding),
                key_padding=move(batch.key_padding),
                key_mask=move(batch.key_mask),
            )

        return replace(
            self,
            own_segment=tuple(map(move_batch, self.own_segment)),
            own_segment_index=self.own_segment_index.to(device),
            shared_prefix=tuple(map(move_batch, self.shared_prefix)),
            prefix_query_index=move(self.prefix_query_index),
            prefix_key_index=move(self.prefix_key_index),
        )


def build_layout(segments: Sequence[Segment]) -> AttentionLayout:
    """Build the batches of segments that cover 0 … T-1; a prompt's completions follow it directly."""
    token_count = sum(segment.length for segment in segments)
    own_rows = [(segment.start, segment.length) for segment in segments]
    own_segment = tuple(
        _own_batch([own_rows[i] for i in chosen]) for chosen in _group([length for _, length in own_rows])
    )
    own_segment_index = _indices_in_rows(
        [batch.queries for batch in own_segment], [batch.query_padding for batch in own_segment], token_count
    )

    completion_tokens: dict[int, int] = {}
    max_length = 0
    for segment in segments:
        before = 0
        if segment.prompt is not None:
            completion_tokens[segment.prompt] = completion_tokens.get(segment.prompt, 0) + segment.length
            before = segments[segment.prompt].length
        max_length = max(max_length, before + segment.length)
    if not completion_tokens:
        return AttentionLayout(
            token_count=token_count,
            max_length=max_length,
            own_segment=own_segment,
            own_segment_index=own_segment_index,
            shared_prefix=(),
            prefix_query_index=None,
            prefix_key_index=None,
        )

    prompts = list(completion_tokens)
    key_rows = [(segments[p].start, segments[p].length) for p in prompts]
    query_rows = [(segments[p].start + segments[p].length, completion_tokens[p]) for p in prompts]
    shared_prefix = tuple(
        _prefix_batch([query_rows[i] for i in chosen], [key_rows[i] for i in chosen])
        for chosen in _group([length for _, length in key_rows], [length for _, length in query_rows])
    )
    return AttentionLayout(
        token_count=token_count,
        max_length=max_length,
        own_segment=own_segment,
        own_segment_index=own_segment_index,
        shared_prefix=shared_prefix,
        prefix_query_index=_indices_in_rows(
            [b.queries for b in shared_prefix], [b.query_padding for b in shared_prefix], token_count
        ),
        prefix_key_index=_indices_in_rows(
            [b.keys for b in shared_prefix], [b.key_padding for b in shared_prefix], token_count
        ),
    )


def _group(lengths: Sequence[int], others: Sequence[int] | None = None) -> list[list[int]]:
    """Group the numbers of rows of similar length, longest first; `others` is a second padded length per row."""
    columns = (lengths, others or [0] * len(lengths))
    order = sorted(range(len(lengths)), key=lambda i: (*(-column[i] for column in columns), i))
    groups: list[list[int]] = []
    longest, total = [0, 0], [0, 0]
    for i in order:
        grown_longest = [max(size, column[i]) for size, column in zip(longest, columns, strict=True)]
        grown_total = [size + column[i] for size, column in zip(total, columns, strict=True)]
        count = len(groups[-1]) + 1 if groups else 0
        if groups and all(
            size * count - real <= max(PAD_TOKENS, PAD_SHARE * real)
            for size, real in zip(grown_longest, grown_total, strict=True)
        ):
            groups[-1].append(i)
            longest, total = grown_longest, grown_total
        else:
            groups.append([i])
            longest, total = ([column[i] for column in columns] for _ in range(2))
    return groups


def _own_batch(rows: Sequence[tuple[int, int]]) -> AttentionBatch:
    # No mask: padding is on the right, and a causal query sees keys on its left only.
    index, padding = _index(rows)
    return AttentionBatch(
        queries=index, keys=index, query_padding=padding, key_padding=padding, key_mask=None
    )


def _prefix_batch(
    query_rows: Sequence[tuple[int, int]], key_rows: Sequence[tuple[int, int]]
) -> AttentionBatch:
    queries, query_padding = _index(query_rows)
    keys, key_padding = _index(key_rows)
    mask = None
    if key_padding is not None:
        mask = torch.zeros(keys.numel())
        mask[key_padding] = float("-inf")
        mask = mask.view(keys.shape[0], 1, 1, keys.shape[1])
    return AttentionBatch(
        queries=queries, keys=keys, query_padding=query_padding, key_padding=key_padding, key_mask=mask
    )


def _index(rows: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor | None]:
    """Return (n, longest) token indices, padded with each row's last token, and the flat indices of the padding.

    A repeated query has the scores of the real one, so exp(score - lse) in the backward is at most 1 for padding too.
    """
    starts = np.array([start for start, _ in rows])[:, None]
    lengths = np.array([length for _, length in rows])[:, None]
    columns = np.arange(lengths.max())[None, :]
    index = torch.from_numpy(starts + np.minimum(columns, lengths - 1))
    padding = np.flatnonzero(columns >= lengths)
    return index, torch.from_numpy(padding) if len(padding) else None


def _indices_in_rows(
    indices: Sequence[Tensor], paddings: Sequence[Tensor | None], token_count: int
) -> Tensor:
    """Return (T,) the index of each token in the flattened, concatenated rows; their total length if it is in none."""
    total = sum(index.numel() for index in indices)
    result = torch.full((token_count,), total, dtype=torch.int64)
    offset = 0
    for index, padding in zip(indices, paddings, strict=True):
        real = torch.ones(index.numel(), dtype=torch.bool)
        if padding is not None:
            real[padding] = False
        result[index.flatten()[real]] = torch.arange(offset, offset + index.numel())[real]
        offset += index.numel()
    return result
