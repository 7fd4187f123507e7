"""Which tokens of a packed row attend to which, as batches for attention kernels. Built once per pack.

A packed row is a list of segments. Every token attends to its own segment up to itself (the first part, causal). A
completion's token also attends to its whole prompt, the prefix that all completions share (the second part). There one
row of queries holds the tokens of all completions of a prompt, so the prompt's keys are never copied per completion.

    prompt a | a0 | a1 | prompt b | b0      own segment:    [a], [a0], [a1], [b], [b0]    causal
                                            shared prefix:  [a0 a1] → [a],  [b0] → [b]    masks for padding only

A rank that computes some tokens of the row alone (policies/context.py) has their queries and the keys of all. Where it
begins inside a segment, a further part holds the segment's earlier tokens.

Rows of unequal length are padded inside a batch, at most by a quarter; linear layers never compute padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from policies.token_share import TokenShare

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
    """n rows of queries and n rows of keys, as int64 indices; a row is padded with its last token."""

    queries: Tensor
    """(n, Q) indices of the queries, among those that are computed here."""
    keys: Tensor
    """(n, K) indices of the keys into T; the same tensor as `queries` where a segment attends to itself."""
    query_padding: Tensor | None
    """(p,) indices of padding in `queries.flatten()`; None without padding."""
    key_mask: Tensor | None
    """(n, 1, 1, K) float32, -inf at padded keys; None if there are none or if causality hides them."""


@dataclass(frozen=True)
class Ragged:
    """The rows of a part without padding, one behind the other, for kernels that take lengths (policies/varlen.py)."""

    queries: Tensor
    """(q,) int64 indices of the queries, among those that are computed here."""
    keys: Tensor
    """(k,) int64 indices of the keys into T."""
    query_ends: Tensor
    """(n+1,) int32: row i has the queries from query_ends[i] to query_ends[i+1]."""
    key_ends: Tensor
    """(n+1,) int32, of the keys."""
    longest_query: int
    """Queries of the longest row."""
    longest_key: int
    """Keys of the longest row."""

    def to(self, device: torch.device | str) -> Ragged:
        """Return a copy on another device."""
        tensors = ("queries", "keys", "query_ends", "key_ends")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})


@dataclass(frozen=True)
class AttentionPart:
    """Batches of one kind; a query is in at most one of their rows, and so is a key."""

    batches: tuple[AttentionBatch, ...]
    causal: bool
    """True: query i of a row sees its keys 0 … i; False: all of them."""
    query_index: Tensor
    """(Q,) index of each query in the flattened, concatenated queries; their total number for one in none."""
    key_index: Tensor
    """(T,) index of each key in the flattened, concatenated keys; their total number for one in none."""
    has_all_queries: bool
    has_all_keys: bool
    ragged: Ragged
    """The same rows without padding."""


@dataclass(frozen=True)
class AttentionLayout:
    """The parts of a packed row's attention; their outputs are joined by their log-sum-exps."""

    segments: tuple[Segment, ...]
    max_length: int
    """Longest prompt plus completion, in tokens."""
    parts: tuple[AttentionPart, ...]
    """The first is causal and has every query."""
    share: TokenShare | None = None
    """The tokens whose queries are computed here; None: all."""

    @property
    def token_count(self) -> int:
        """T, the number of packed tokens."""
        return sum(segment.length for segment in self.segments)

    def to(self, device: torch.device | str) -> AttentionLayout:
        """Return a copy on another device."""

        def move(batch: AttentionBatch) -> AttentionBatch:
            queries = batch.queries.to(device)
            return AttentionBatch(
                queries=queries,
                keys=queries if batch.keys is batch.queries else batch.keys.to(device),
                query_padding=None if batch.query_padding is None else batch.query_padding.to(device),
                key_mask=None if batch.key_mask is None else batch.key_mask.to(device),
            )

        parts = tuple(
            replace(
                part,
                batches=tuple(map(move, part.batches)),
                query_index=part.query_index.to(device),
                key_index=part.key_index.to(device),
                ragged=part.ragged.to(device),
            )
            for part in self.parts
        )
        return replace(self, parts=parts, share=None if self.share is None else self.share.to(device))


_Run = tuple[int, int]
"""Start and length of consecutive indices."""


@dataclass(frozen=True)
class _Piece:
    """Tokens of one segment that are computed together: `length` of them from T's index `start`, in row `row`."""

    segment: Segment
    start: int
    length: int
    row: int


def build_layout(segments: Sequence[Segment], share: TokenShare | None = None) -> AttentionLayout:
    """Build the batches of segments that cover 0 … T-1; a prompt's completions follow it directly.

    Args:
        segments: of the packed row.
        share: the tokens whose queries are computed here; None: all.
    """
    token_count = sum(segment.length for segment in segments)
    pieces = _cut(segments, ((0, token_count),) if share is None else share.ranges)
    parts = [_own_part(pieces, token_count)]
    prefix = _prefix_part(segments, pieces, token_count)
    if prefix is not None:
        parts.append(prefix)
    # One part each: two pieces of one segment have keys in common.
    parts += [_earlier_part(p, pieces, token_count) for p in pieces if p.start > p.segment.start]
    lengths = [s.length + (0 if s.prompt is None else segments[s.prompt].length) for s in segments]
    return AttentionLayout(segments=tuple(segments), max_length=max(lengths), parts=tuple(parts), share=share)


def _cut(segments: Sequence[Segment], ranges: Sequence[tuple[int, int]]) -> list[_Piece]:
    """Cut ascending ranges of tokens at the ends of segments."""
    pieces: list[_Piece] = []
    row = 0
    for first, stop in ranges:
        for segment in segments:
            start = max(first, segment.start)
            length = min(stop, segment.start + segment.length) - start
            if length > 0:
                pieces.append(_Piece(segment, start, length, row))
                row += length
    return pieces


def _own_part(pieces: Sequence[_Piece], token_count: int) -> AttentionPart:
    batches = []
    for chosen in _group([piece.length for piece in pieces]):
        queries, padding = _index([(pieces[i].row, pieces[i].length) for i in chosen])
        keys, _ = _index([(pieces[i].start, pieces[i].length) for i in chosen])
        # No mask: padding is on the right, and a causal query sees keys on its left only.
        batches.append((AttentionBatch(queries, keys, padding, None), padding))
    rows = [((piece.row, piece.length), (piece.start, piece.length)) for piece in pieces]
    return _part(batches, rows, _count(pieces), token_count, causal=True)


def _prefix_part(
    segments: Sequence[Segment], pieces: Sequence[_Piece], token_count: int
) -> AttentionPart | None:
    """Batches of completions that attend to their prompts; None without completions."""
    rows: dict[int, tuple[int, int]] = {}
    for piece in pieces:
        if piece.segment.prompt is not None:
            row, length = rows.get(piece.segment.prompt, (piece.row, 0))
            rows[piece.segment.prompt] = row, length + piece.length
    if not rows:
        return None
    query_rows = list(rows.values())
    key_rows = [(segments[p].start, segments[p].length) for p in rows]
    batches = [
        _prefix_batch([query_rows[i] for i in chosen], [key_rows[i] for i in chosen])
        for chosen in _group([length for _, length in key_rows], [length for _, length in query_rows])
    ]
    paired = list(zip(query_rows, key_rows, strict=True))
    return _part(batches, paired, _count(pieces), token_count, causal=False)


def _earlier_part(piece: _Piece, pieces: Sequence[_Piece], token_count: int) -> AttentionPart:
    """The piece's queries and the tokens of its segment that stand before it."""
    queries, keys = (piece.row, piece.length), (piece.segment.start, piece.start - piece.segment.start)
    batch = _prefix_batch([queries], [keys])
    return _part([batch], [(queries, keys)], _count(pieces), token_count, causal=False)


def _part(
    batches: Sequence[tuple[AttentionBatch, Tensor | None]],
    rows: Sequence[tuple[_Run, _Run]],
    query_count: int,
    token_count: int,
    *,
    causal: bool,
) -> AttentionPart:
    """Make a part of batches and the padding of their keys, and of the same rows as (queries, keys)."""
    query_index = _indices_in_rows([(b.queries, b.query_padding) for b, _ in batches], query_count)
    key_index = _indices_in_rows([(b.keys, padding) for b, padding in batches], token_count)
    return AttentionPart(
        batches=tuple(batch for batch, _ in batches),
        causal=causal,
        query_index=query_index,
        key_index=key_index,
        has_all_queries=bool((query_index < sum(b.queries.numel() for b, _ in batches)).all()),
        has_all_keys=bool((key_index < sum(b.keys.numel() for b, _ in batches)).all()),
        ragged=_ragged(rows),
    )


def _ragged(rows: Sequence[tuple[_Run, _Run]]) -> Ragged:
    """Return the rows one behind the other."""
    (queries, query_ends), (keys, key_ends) = (
        _concatenated([row[side] for row in rows]) for side in range(2)
    )
    return Ragged(
        queries=queries,
        keys=keys,
        query_ends=query_ends,
        key_ends=key_ends,
        longest_query=max(length for (_, length), _ in rows),
        longest_key=max(length for _, (_, length) in rows),
    )


def _concatenated(runs: Sequence[_Run]) -> tuple[Tensor, Tensor]:
    """Return the indices of all runs, and where each ends."""
    index = np.concatenate([np.arange(start, start + length) for start, length in runs])
    ends = np.cumsum([0, *(length for _, length in runs)], dtype=np.int32)
    return torch.from_numpy(index), torch.from_numpy(ends)


def _count(pieces: Sequence[_Piece]) -> int:
    return sum(piece.length for piece in pieces)


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


def _prefix_batch(
    query_rows: Sequence[tuple[int, int]], key_rows: Sequence[tuple[int, int]]
) -> tuple[AttentionBatch, Tensor | None]:
    """Return a batch and the padding of its keys."""
    queries, query_padding = _index(query_rows)
    keys, key_padding = _index(key_rows)
    mask = None
    if key_padding is not None:
        mask = torch.zeros(keys.numel())
        mask[key_padding] = float("-inf")
        mask = mask.view(keys.shape[0], 1, 1, keys.shape[1])
    return AttentionBatch(queries, keys, query_padding, mask), key_padding


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


def _indices_in_rows(rows: Sequence[tuple[Tensor, Tensor | None]], token_count: int) -> Tensor:
    """Return (T,) the index of each token in the flattened, concatenated rows; their total length if it is in none.

    Args:
        rows: (n, L) indices of tokens, and the flat indices of their padding.
        token_count: T.
    """
    total = sum(index.numel() for index, _ in rows)
    result = torch.full((token_count,), total, dtype=torch.int64)
    offset = 0
    for index, padding in rows:
        real = torch.ones(index.numel(), dtype=torch.bool)
        if padding is not None:
            real[padding] = False
        result[index.flatten()[real]] = torch.arange(offset, offset + index.numel())[real]
        offset += index.numel()
    return result
