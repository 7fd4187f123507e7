"""The corpora of `grpo pretrain` by name: texts, tokenizer, and the gate's problems."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from data_recipes.worlds.chain import corpus
from data_recipes.worlds.chain import tokenizer as tiny_tokenizer
from data_recipes.worlds.code_tiny import corpus as code_tiny_corpus
from data_recipes.worlds.code_tiny import problems as code_tiny
from data_recipes.worlds.code_tiny import tokenizer as code_tiny_tokenizer
from data_recipes.worlds.probes.greedy_probe import GreedyProbe, greedy_accuracy, greedy_probe
from data_recipes.worlds.probes.reply_probe import reply_probability, reply_probe
from data_recipes.worlds.probes.trace_accuracy import make_probe, trace_accuracy
from data_recipes.worlds.r1 import corpus as r1_world_corpus
from data_recipes.worlds.r1 import tokenizer as r1_world_tokenizer
from data_recipes.worlds.r1.probe import probe_replies
from policies.tokenizer import Tokenizer

Probes = dict[int, Callable[[nn.Module], float]]


@dataclass(frozen=True)
class PretrainCorpus:
    """What pre-training reads and is judged by."""

    texts: Callable[[int, int, int], Iterable[str]]
    """(seed, batch, count) → documents; a pure function."""
    build_tokenizer: Callable[[Path], None]
    probes: Callable[[Tokenizer, int, int], Probes]
    """(tokenizer, problems, seed) → trace accuracy by number of operations."""


def corpus_of(name: str) -> PretrainCorpus:
    """The corpus that `corpus` in a recipe names."""
    return _CORPORA[name]


def _chain_texts(seed: int, batch: int, count: int) -> Iterable[str]:
    return (d.text for d in corpus.documents(seed, batch, count))


def _chain_probes(tokenizer: Tokenizer, count: int, seed: int) -> Probes:
    made = {k: make_probe(tokenizer, k, count, seed) for k in corpus.SOLVED_LENGTHS}
    return {k: partial(trace_accuracy, probe=probe) for k, probe in made.items()}


def _world_texts(seed: int, batch: int, count: int) -> Iterable[str]:
    return (d.text for d in r1_world_corpus.documents(seed, batch, count))


def _world_probes(tokenizer: Tokenizer, count: int, seed: int) -> Probes:
    lengths = r1_world_corpus.SOLVED_LENGTHS
    made = {k: reply_probe(tokenizer, probe_replies(k, count, seed)) for k in lengths}
    return {k: partial(reply_probability, probe=probe) for k, probe in made.items()}


def _code_texts(seed: int, batch: int, count: int) -> Iterable[str]:
    return (d.text for d in code_tiny_corpus.documents(seed, batch, count))


def _code_probes(tokenizer: Tokenizer, count: int, seed: int) -> Probes:
    return {
        k: partial(greedy_accuracy, probe=_code_probe(tokenizer, k, count, seed))
        for k in code_tiny_corpus.LENGTHS
    }


def _code_probe(tokenizer: Tokenizer, k: int, count: int, seed: int) -> GreedyProbe:
    """Right programs behind their opening fence."""
    rng = random.Random(f"code-tiny-probe/{seed}/{k}")
    problems = [code_tiny.random_problem(rng, k, "train") for _ in range(count)]
    opening = "```python\n"
    return greedy_probe(
        tokenizer, [(code_tiny.question(p) + opening, f"{code_tiny.program(p)}```") for p in problems]
    )


_CORPORA = {
    "chain": PretrainCorpus(_chain_texts, tiny_tokenizer.build_tokenizer, _chain_probes),
    "code-tiny": PretrainCorpus(_code_texts, code_tiny_tokenizer.build_tokenizer, _code_probes),
    "r1-world": PretrainCorpus(_world_texts, r1_world_tokenizer.build_tokenizer, _world_probes),
}
