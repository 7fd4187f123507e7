"""Measures the fraction of known replies that a base continues correctly with greedy decoding.

It ends pre-training for tasks whose good reply is the most probable one. Sampling at temperature 1 reproduces the
errors of many replies in the corpus; the greedy choice shows what has been learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.logprobs import hidden_states
from policies.model import causal_lm
from policies.packing import PackedSequences, pack_documents
from policies.tokenizer import Tokenizer


@dataclass(frozen=True)
class GreedyProbe:
    """Packed replies and a mask of their judged tokens."""

    packed: PackedSequences
    judged: Tensor
    """(C,) bool, True for a judged token."""


def greedy_probe(tokenizer: Tokenizer, replies: Sequence[tuple[str, str]]) -> GreedyProbe:
    """Build a probe from (given text, required continuation) pairs; the given text includes the reply's opening."""
    documents, judged = [], []
    for given, rest in replies:
        before = tokenizer.encode(given, add_special_tokens=True)
        after = tokenizer.encode(rest)
        documents.append([*before, *after])
        judged += [False] * (len(before) - 1) + [True] * len(after)  # targets are all tokens but the first
    return GreedyProbe(pack_documents(documents), torch.tensor(judged))


def greedy_accuracy(model: nn.Module, probe: GreedyProbe) -> float:
    """Return the fraction of replies in which every judged token is the most probable one."""
    with torch.no_grad():
        states = hidden_states(model, probe.packed).index_select(0, probe.packed.predict_index)
        head = causal_lm(model).get_output_embeddings()
        chosen = (states @ head.weight.T).argmax(-1)
    slips = (probe.judged & (chosen != probe.packed.target_ids)).float()
    per_reply = slips.new_zeros(probe.packed.sample_count).index_add_(0, probe.packed.sample_ids, slips)
    return float((per_reply == 0).float().mean())
