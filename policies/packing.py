"""Groups and documents laid end to end in one row of tokens: no padding, shared prompts once.

    pack([(prompt, [completion, …]), …])    group after group: prompt | completion 0 | completion 1 | …
    pack_documents([document, …])           isolated sequences: every token after the first is a target

    packed = pack([([5, 6], [[7, 8], [9]])])
    token_ids      5  6 | 7  8 | 9            T = 5
    position_ids   0  1 | 2  3 | 2            a completion goes on where its prompt ended
    target_ids     7  8   9                   C = 3
    predict_index  1  2   1                   the last prompt token predicts every completion's first token
    sample_ids     0  0   1

Axes: T packed tokens, C target tokens, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from policies.layout import AttentionLayout, Segment, build_layout

TokenIds = Sequence[int] | np.ndarray
"""Tokens of one sequence, as numbers or as an (L,) integer array."""


@dataclass(frozen=True)
class PackedSequences:
    """The tokens of one forward and the predictions that count. All tensors are int64."""

    token_ids: Tensor
    """(T,) tokens of the packed row."""
    position_ids: Tensor
    """(T,) index of the token in its sequence (prompt and completion)."""
    layout: AttentionLayout
    """Which tokens attend to which."""
    predict_index: Tensor
    """(C,) index into T of the hidden state that predicts each target."""
    target_ids: Tensor
    """(C,) tokens that are predicted, sample by sample."""
    sample_ids: Tensor
    """(C,) index of each target's sample, 0 … S-1 in the order given."""
    sample_count: int
    """S, the number of samples, empty ones included."""

    def to(self, device: torch.device | str) -> PackedSequences:
        """Return a copy on another device."""
        return PackedSequences(
            token_ids=self.token_ids.to(device),
            position_ids=self.position_ids.to(device),
            layout=self.layout.to(device),
            predict_index=self.predict_index.to(device),
            target_ids=self.target_ids.to(device),
            sample_ids=self.sample_ids.to(device),
            sample_count=self.sample_count,
        )


def pack(groups: Sequence[tuple[TokenIds, Sequence[TokenIds]]]) -> PackedSequences:
    """Lay out groups of (prompt, completions); each prompt stands once, before its completions.

    A completion may be empty: it has no target and still counts as a sample. A prompt may not be empty, because no
    hidden state would predict the first token of its completions.

    Raises:
        ValueError: there is no token, or a prompt is empty.
    """
    tokens: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    predict: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    lengths: list[int] = []
    segments: list[Segment] = []
    start = 0
    for number, (prompt, completions) in enumerate(groups):
        prompt_ids = _as_ids(prompt)
        size = len(prompt_ids)
        if size == 0:
            raise ValueError(
                f"group {number} has an empty prompt: nothing predicts its completions' first token"
            )
        prompt_segment = len(segments)
        segments.append(Segment(start, size))
        tokens.append(prompt_ids)
        positions.append(np.arange(size))
        last_prompt_token = start + size - 1
        start += size
        for completion in completions:
            ids = _as_ids(completion)
            length = len(ids)
            lengths.append(length)
            if length == 0:
                continue
            segments.append(Segment(start, length, prompt=prompt_segment))
            tokens.append(ids)
            positions.append(np.arange(size, size + length))
            predict.append(np.concatenate(([last_prompt_token], np.arange(start, start + length - 1))))
            targets.append(ids)
            start += length
    return _packed(tokens, positions, predict, targets, lengths, segments)


def pack_documents(documents: Sequence[TokenIds]) -> PackedSequences:
    """Lay out sequences that do not see each other; every token after the first of each is a target.

    Raises:
        ValueError: there is no token, or a document is empty.
    """
    tokens: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    predict: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    lengths: list[int] = []
    segments: list[Segment] = []
    start = 0
    for number, document in enumerate(documents):
        ids = _as_ids(document)
        size = len(ids)
        if size == 0:
            raise ValueError(f"document {number} is empty")
        segments.append(Segment(start, size))
        tokens.append(ids)
        positions.append(np.arange(size))
        predict.append(np.arange(start, start + size - 1))
        targets.append(ids[1:])
        lengths.append(size - 1)
        start += size
    return _packed(tokens, positions, predict, targets, lengths, segments)


def _packed(
    tokens: list[np.ndarray],
    positions: list[np.ndarray],
    predict: list[np.ndarray],
    targets: list[np.ndarray],
    lengths: list[int],
    segments: list[Segment],
) -> PackedSequences:
    if not tokens:
        raise ValueError("nothing to pack")
    return PackedSequences(
        token_ids=_join(tokens),
        position_ids=_join(positions),
        layout=build_layout(segments),
        predict_index=_join(predict),
        target_ids=_join(targets),
        sample_ids=torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)),
        sample_count=len(lengths),
    )


def _as_ids(sequence: TokenIds) -> np.ndarray:
    return np.asarray(sequence, dtype=np.int64).reshape(-1)


def _join(parts: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64))
