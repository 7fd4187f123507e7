"""Who attends to whom in a packed row, as batches that attention kernels take. Built once per pack.

A packed row is a list of segments. Every token attends to its own segment up to itself (`own` batches,
causal); a completion's token attends to all of its prompt besides (`shared` batches: one row of queries per
prompt, holding the tokens of all its completions, so that a prompt's keys are never copied per completion).

    prompt a | a0 | a1 | prompt b | b0      own:    [a], [a0], [a1], [b], [b0]    causal
                                            shared: [a0 a1] → [a],  [b0] → [b]    no mask but for padding

Rows of unequal length are padded inside a batch, at most by a quarter; the linear layers never see padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

PAD_SHARE = 0.25
PAD_TOKENS = 256
"""A batch takes rows while its padding is below this share of its tokens, or below this many: an extra
kernel call costs more than a few padded rows."""


@dataclass(frozen=True)
class Segment:
    """`length` tokens from `start` on; `prompt` is the number of the segment that they continue."""

    start: int
    length: int
    prompt: int | None = None


@dataclass(frozen=True)
class AttentionBatch:
    """n rows of queries, n rows of keys. Indices into T, int64; a row is padded with its last token."""

    queries: Tensor
    """(n, Q)"""
    keys: Tensor
    """(n, K); the very object `queries` in an own batch."""
    query_padding: Tensor | None
    """(p,) padded places of `queries.flatten()`; None without padding."""
    key_padding: Tensor | None
    """(p,) likewise for `keys`."""
    key_mask: Tensor | None
    """(n, 1, 1, K) float32, -inf at padded keys. None where there are none, or where causality hides them."""


@dataclass(frozen=True)
class AttentionLayout:
    """Every token stands in exactly one own row, and in at most one shared row, as query or as key."""

    token_count: int
    """T"""
    max_length: int
    """Longest prompt + completion."""
    own: tuple[AttentionBatch, ...]
    own_place: Tensor
    """(T,) where each token stands in the own batches' flattened queries, laid end to end."""
    shared: tuple[AttentionBatch, ...]
    shared_query_place: Tensor | None
    """(T,) likewise for the queries of the shared batches; one past the end for a token in none."""
    shared_key_place: Tensor | None
    """(T,) likewise for their keys."""

    def to(self, device: torch.device | str) -> AttentionLayout:
        """The same on another device."""

        def move(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.to(device)

        def move_batch(batch: AttentionBatch) -> AttentionBatch:
            queries = batch.queries.to(device)
            return AttentionBatch(
                queries,
                queries if batch.keys is batch.queries else batch.keys.to(device),
                move(batch.query_padding),
                move(batch.key_padding),
                move(batch.key_mask),
            )

        return replace(
            self,
            own=tuple(map(move_batch, self.own)),
            own_place=self.own_place.to(device),
            shared=tuple(map(move_batch, self.shared)),
            shared_query_place=move(self.shared_query_place),
            shared_key_place=move(self.shared_key_place),
        )


def build_layout(segments: Sequence[Segment]) -> AttentionLayout:
    """Batches for segments that cover 0 … T-1; a prompt's completions follow it directly."""
    token_count = sum(segment.length for segment in segments)
    own_rows = [(segment.start, segment.length) for segment in segments]
    own = tuple(
        _own_batch([own_rows[i] for i in chosen]) for chosen in _group([length for _, length in own_rows])
    )
    own_place = _places([batch.queries for batch in own], [batch.query_padding for batch in own], token_count)

    completion_tokens: dict[int, int] = {}
    max_length = 0
    for segment in segments:
        before = 0
        if segment.prompt is not None:
            completion_tokens[segment.prompt] = completion_tokens.get(segment.prompt, 0) + segment.length
            before = segments[segment.prompt].length
        max_length = max(max_length, before + segment.length)
    if not completion_tokens:
        return AttentionLayout(token_count, max_length, own, own_place, (), None, None)

    prompts = list(completion_tokens)
    key_rows = [(segments[p].start, segments[p].length) for p in prompts]
    query_rows = [(segments[p].start + segments[p].length, completion_tokens[p]) for p in prompts]
    shared = tuple(
        _shared_batch([query_rows[i] for i in chosen], [key_rows[i] for i in chosen])
        for chosen in _group([length for _, length in key_rows], [length for _, length in query_rows])
    )
    return AttentionLayout(
        token_count=token_count,
        max_length=max_length,
        own=own,
        own_place=own_place,
        shared=shared,
        shared_query_place=_places(
            [b.queries for b in shared], [b.query_padding for b in shared], token_count
        ),
        shared_key_place=_places([b.keys for b in shared], [b.key_padding for b in shared], token_count),
    )


def _group(lengths: Sequence[int], others: Sequence[int] | None = None) -> list[list[int]]:
    """Rows of similar length together, longest first; `others` is a second length that is padded as well."""
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
    # No mask: padding is on the right and a causal query looks to the left only.
    index, padding = _index(rows)
    return AttentionBatch(index, index, padding, padding, None)


def _shared_batch(
    query_rows: Sequence[tuple[int, int]], key_rows: Sequence[tuple[int, int]]
) -> AttentionBatch:
    queries, query_padding = _index(query_rows)
    keys, key_padding = _index(key_rows)
    mask = None
    if key_padding is not None:
        mask = torch.zeros(keys.numel())
        mask[key_padding] = float("-inf")
        mask = mask.view(keys.shape[0], 1, 1, keys.shape[1])
    return AttentionBatch(queries, keys, query_padding, key_padding, mask)


def _index(rows: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor | None]:
    """(n, longest) token indices, padded with the row's last token, and the flat places of the padding.

    A repeated query scores real keys as the real query did, so the backward's exp(score - lse) stays within
    1 at padded places too.
    """
    starts = np.array([start for start, _ in rows])[:, None]
    lengths = np.array([length for _, length in rows])[:, None]
    columns = np.arange(lengths.max())[None, :]
    index = torch.from_numpy(starts + np.minimum(columns, lengths - 1))
    padding = np.flatnonzero(columns >= lengths)
    return index, torch.from_numpy(padding) if len(padding) else None


def _places(indices: Sequence[Tensor], paddings: Sequence[Tensor | None], token_count: int) -> Tensor:
    """The inverse: each token's place among the flattened rows laid end to end; one past the end if none."""
    total = sum(index.numel() for index in indices)
    places = torch.full((token_count,), total, dtype=torch.int64)
    offset = 0
    for index, padding in zip(indices, paddings, strict=True):
        real = torch.ones(index.numel(), dtype=torch.bool)
        if padding is not None:
            real[padding] = False
        places[index.flatten()[real]] = torch.arange(offset, offset + index.numel())[real]
        offset += index.numel()
    return places
