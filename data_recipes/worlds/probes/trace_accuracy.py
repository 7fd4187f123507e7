"""How surely a base works step by step, without sampling: the gate of pre-training.

For a problem the step-by-step reply is one text, so the probability that sampling at temperature 1 yields
it is the product of its tokens' probabilities: exact where a sampled share is noisy, and one forward pass.
What is measured is skill, not taste: the tags and the first digit of the thought, where the styles part, are
left out, an operator's probability is taken among the replies that do not leap there, and where the tally is
complete anything is right but a further operator.
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
    """Packed step-by-step replies of one length, and what is judged of their C tokens."""

    packed: PackedSequences
    exact: Tensor
    """(C,) bool: a digit, operator or equals sign of the reply; it must come as it is."""
    may_leap: Tensor
    """(C,) bool: an operator is due, where the corpus leaps to the result in some replies."""
    ends: Tensor
    """(C,) bool: the tally is complete here; no operator may come."""
    operators: Tensor
    """(3,) int64: token ids of the operators."""
    leap: int
    """Token that opens a leap; taking it or not is style."""


def make_probe(tokenizer: Tokenizer, k: int, count: int, seed: int, split: Split = "train") -> TraceProbe:
    """`count` random problems of k operations with their step-by-step replies.

    Raises:
        ValueError: the tokenizer is not the tiny one.
    """
    rng = random.Random(f"probe/{seed}/{split}/{k}")
    documents: list[list[int]] = []
    judged: list[bool] = []
    for _ in range(count):
        problem = random_problem(rng, k, split)
        prompt = tokenizer.encode(R1_ZERO.replace("{prompt}", question(problem)), add_special_tokens=True)
        reply = tokenizer.encode(reply_in_steps(problem))
        documents.append([*prompt, *reply])
        # Targets are a document's tokens but for its first; tag and digit that open the reply are style.
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
    """Mean over problems of the probability that a step-by-step reply is right in every token."""
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
