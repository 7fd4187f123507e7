"""Measures, without sampling, the probability that a policy gives known replies.

This is the general form of trace_accuracy.py: each judged token has a set of right or of wrong pieces, and a set of
excluded pieces, whose choice is style.

    probability of a reply = Π over judged tokens of P(right) / P(not excluded)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from data_recipes.worlds.r1.probe import ProbeReply
from policies.logprobs import hidden_states
from policies.model import causal_lm
from policies.packing import PackedSequences, pack_documents
from policies.tokenizer import Tokenizer


@dataclass(frozen=True)
class ReplyProbe:
    """Packed replies and the sets of right and excluded pieces for their C tokens."""

    packed: PackedSequences
    right: Tensor
    """(C, V) bool, True for right pieces; all True for a token that is not judged."""
    kept: Tensor
    """(C, V) bool, True for pieces that are not excluded."""


def reply_probe(tokenizer: Tokenizer, replies: Sequence[ProbeReply]) -> ReplyProbe:
    """Encode replies as a probe.

    Raises:
        ValueError: a piece of a reply is not one token of this tokenizer.
    """
    documents, right, kept = [], [], []
    everything = torch.ones(len(tokenizer), dtype=torch.bool)
    for reply in replies:
        prompt = tokenizer.encode(reply.prompt, add_special_tokens=True)
        ids = _ids(tokenizer, [judged.piece for judged in reply.reply])
        documents.append([*prompt, *ids.tolist()])
        # Targets are a document's tokens except its first.
        right += [everything] * (len(prompt) - 1)
        kept += [everything] * (len(prompt) - 1)
        for judged in reply.reply:
            allowed = everything.clone()
            if judged.right:
                allowed = ~allowed
                allowed[_ids(tokenizer, judged.right)] = True
            allowed[_ids(tokenizer, judged.wrong)] = False
            style_free = everything.clone()
            style_free[_ids(tokenizer, judged.apart)] = False
            right.append(allowed & style_free)
            kept.append(style_free if judged.right or judged.wrong else allowed)
    return ReplyProbe(pack_documents(documents), torch.stack(right), torch.stack(kept))


def reply_probability(model: nn.Module, probe: ReplyProbe) -> float:
    """Return the mean probability of the replies."""
    with torch.no_grad():
        states = hidden_states(model, probe.packed).index_select(0, probe.packed.predict_index)
        head = causal_lm(model).get_output_embeddings()
        logprobs = (states @ head.weight.T).log_softmax(-1)
    outside = torch.tensor(float("-inf"))
    total = torch.where(probe.right, logprobs, outside).logsumexp(-1)
    total = total - torch.where(probe.kept, logprobs, outside).logsumexp(-1)
    per_reply = total.new_zeros(probe.packed.sample_count)
    return float(per_reply.index_add_(0, probe.packed.sample_ids, total).exp().mean())


def _ids(tokenizer: Tokenizer, pieces: Iterable[str]) -> Tensor:
    found = {piece: tokenizer.token_id(piece) for piece in pieces}
    for piece, number in found.items():
        if number is None:
            raise ValueError(f"{tokenizer.folder}: no piece {piece!r}")
    return torch.tensor([found[piece] for piece in pieces], dtype=torch.int64)
