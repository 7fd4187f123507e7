"""Measures, without sampling, the probability that a base solves problems step by step; pre-training ends by it.

A problem has one step-by-step reply, so the probability that sampling at temperature 1 gives it is the product of its
tokens' probabilities: exact, where the frequency in samples is noisy, and from one forward pass. Style does not count:
the tags and the first digit of the thought, at which the styles differ, are left out; an operator's probability is
conditional on not leaping to a result there; and after a complete tally every token but a further operator is right.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from data_recipes.templates import R1_ZERO
from data_recipes.worlds.chain.corpus import reply_in_steps
from data_recipes.worlds.chain.problems import OPERATORS, Split, question, random_problem
from policies.logprobs import hidden_states
from policies.model import causal_lm
from policies.packing import PackedSequences, pack_documents
from policies.tokenizer import Tokenizer


@dataclass(frozen=True)
class TraceProbe:
    """Packed step-by-step replies of one length, and masks of their C judged tokens."""

    packed: PackedSequences
    exact: Tensor
    """(C,) bool: a digit, operator or equals sign of the reply, which must be exactly this token."""
    may_leap: Tensor
    """(C,) bool: an operator, at which some replies of the corpus leap to the result."""
    ends: Tensor
    """(C,) bool: the tally is complete, so an operator is wrong."""
    operators: Tensor
    """(3,) int64: token ids of the operators."""
    leap: int
    """Token that begins a leap; its choice is style."""


def make_probe(tokenizer: Tokenizer, k: int, count: int, seed: int, split: Split = "train") -> TraceProbe:
    """Draw `count` problems of k operations and pack their step-by-step replies.

    Raises:
        ValueError: the tokenizer is not the one of this task world.
    """
    rng = random.Random(f"probe/{seed}/{split}/{k}")
    documents: list[list[int]] = []
    judged: list[bool] = []
    for _ in range(count):
        problem = random_problem(rng, k, split)
        prompt = tokenizer.encode(R1_ZERO.replace("{prompt}", question(problem)), add_special_tokens=True)
        reply = tokenizer.encode(reply_in_steps(problem))
        documents.append([*prompt, *reply])
        # Targets are a document's tokens except its first; the tag and digit that begin the reply are style.
        judged += [False] * (len(prompt) + 1) + [True] * (len(reply) - 2)
    packed = pack_documents(documents)
    mask, targets = torch.tensor(judged), packed.target_ids
    operators = torch.tensor(_known(tokenizer, [f" {o}" for o in OPERATORS]))
    exact = torch.tensor(_known(tokenizer, [" =", *(f" {d}" for d in range(10))]))
    end = _known(tokenizer, [" </think>"])[0]
    return TraceProbe(
        packed=packed,
        exact=mask & torch.isin(targets, torch.cat([exact, operators])),
        may_leap=mask & torch.isin(targets, operators),
        ends=mask & (targets == end),
        operators=operators,
        leap=_known(tokenizer, [" then"])[0],
    )


def trace_accuracy(model: nn.Module, probe: TraceProbe) -> float:
    """Return the mean over problems of the probability that every token of the reply is right."""
    with torch.no_grad():
        states = hidden_states(model, probe.packed).index_select(0, probe.packed.predict_index)
        head = causal_lm(model).get_output_embeddings()
        logprobs = (states @ head.weight.T).log_softmax(-1)
    chosen = logprobs.gather(1, probe.packed.target_ids[:, None])[:, 0]
    no_operator = torch.log1p(-logprobs[:, probe.operators].exp().sum(-1).clamp(max=1 - 1e-6))
    no_leap = torch.log1p(-logprobs[:, probe.leap].exp().clamp(max=1 - 1e-6))
    chosen = torch.where(probe.may_leap, chosen - no_leap, chosen)
    total = torch.where(probe.exact, chosen, torch.where(probe.ends, no_operator, 0.0))
    per_problem = total.new_zeros(probe.packed.sample_count)
    return float(per_problem.index_add_(0, probe.packed.sample_ids, total).exp().mean())


def _known(tokenizer: Tokenizer, pieces: Sequence[str]) -> list[int]:
    ids = [tokenizer.token_id(piece) for piece in pieces]
    if None in ids:
        raise ValueError(
            f"{tokenizer.folder}: not the tiny tokenizer, it has no piece {pieces[ids.index(None)]!r}"
        )
    return [i for i in ids if i is not None]
