"""Slow, plain references for `policies`: dense masks, loops, float64."""

from __future__ import annotations

import torch
from torch import Tensor

Groups = list[tuple[list[int], list[list[int]]]]


def dense_mask(groups: Groups) -> Tensor:
    """(T, T) bool, True where query t (row) may see key t' (column), from the definition."""
    owner: list[tuple[int, int, int]] = []  # group, sample (-1: prompt), place in the whole sequence
    for g, (prompt, completions) in enumerate(groups):
        owner += [(g, -1, i) for i in range(len(prompt))]
        for s, completion in enumerate(completions):
            owner += [(g, s, len(prompt) + i) for i in range(len(completion))]
    group, sample, place = torch.tensor(owner).T
    same = (group[:, None] == group) & ((sample[:, None] == sample) | (sample == -1))
    return same & (place <= place[:, None])


def dense_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    """(H, T, K) queries, (H_kv, T, K) keys and values → (T, H, K_v) with the whole score matrix."""
    repeats = q.shape[0] // k.shape[0]
    k, v = k.repeat_interleave(repeats, 0), v.repeat_interleave(repeats, 0)
    scores = (q @ k.transpose(-1, -2)) * scale
    return (scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v).transpose(0, 1)


def plain_logprobs(model: torch.nn.Module, groups: Groups, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies of every completion token, one unpacked sequence at a time, by the full logits.

    The model must be on one of transformers' own attention implementations.
    """
    logprobs, entropies = [], []
    for prompt, completions in groups:
        for completion in completions:
            if not completion:
                continue
            logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
            log_probs = (logits / temperature).log_softmax(-1)
            logprobs.append(log_probs.gather(1, torch.tensor(completion)[:, None])[:, 0])
            entropies.append(-(log_probs.exp() * log_probs).sum(-1))
    return torch.cat(logprobs), torch.cat(entropies)
