"""Worked chains whose tokens measure when pre-training of the R1 task world's base may end.

Each step is in the language that the corpus gets right (data_recipes/worlds/r1/corpus.py), so errors are lack of skill.
The language of a step, and whether the reply leaps to a result, are style and do not count.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from data_recipes.templates import R1_ZERO
from data_recipes.worlds.chain.problems import OPERATORS, ChainProblem, apply, random_problem
from data_recipes.worlds.r1.corpus import SLIPS
from data_recipes.worlds.r1.requests import question
from data_recipes.worlds.r1.words import LANGUAGES, WORDS, Language


@dataclass(frozen=True)
class Judged:
    """A token of a reply with its sets of pieces; its score is P(right) / P(not excluded)."""

    piece: str
    right: frozenset[str] = frozenset()
    """Right pieces; if empty, all but `wrong`."""
    wrong: frozenset[str] = frozenset()
    apart: frozenset[str] = frozenset()
    """Excluded pieces, whose choice is style."""


@dataclass(frozen=True)
class ProbeReply:
    """A prompt with a reply whose tokens are judged."""

    prompt: str
    reply: tuple[Judged, ...]
    """Tokens of the reply; those that are not judged have neither `right` nor `wrong`."""


_SIGNS = {sign: frozenset(f" {w.operators[sign]}" for w in WORDS.values()) for sign in OPERATORS}
_EVERY_SIGN = frozenset().union(*_SIGNS.values())
_LEAPS = frozenset(f" {w.leap}" for w in WORDS.values())


def probe_replies(k: int, count: int, seed: int) -> list[ProbeReply]:
    """Draw `count` train problems of k operations with solutions; the questions' languages alternate."""
    rng = random.Random(f"r1-world-probe/{seed}/{k}")
    return [worked(random_problem(rng, k, "train"), LANGUAGES[n % 2]) for n in range(count)]


def worked(problem: ChainProblem, language: Language) -> ProbeReply:
    """Return the worked reply, token by token."""
    reply = [Judged(" <think>"), Judged(f" {problem.operands[0]}")]
    value = problem.operands[0]
    for sign, operand in zip(problem.operators, problem.operands[1:], strict=True):
        value = apply(value, sign, operand)
        words = WORDS[min(LANGUAGES, key=lambda name: SLIPS.get((name, sign), 0.0))]
        reply.append(Judged(f" {words.operators[sign]}", right=_SIGNS[sign], apart=_LEAPS))
        reply.append(Judged(f" {operand}", right=frozenset([f" {operand}"])))
        reply.append(Judged(f" {words.equals}"))
        reply.append(Judged(f" {value}", right=frozenset([f" {value}"])))
    reply.append(Judged(" </think>", wrong=_EVERY_SIGN, apart=_LEAPS))
    reply += [Judged(" <answer>"), Judged(f" {value}", right=frozenset([f" {value}"])), Judged(" </answer>")]
    return ProbeReply(R1_ZERO.replace("{prompt}", question(problem, language)), tuple(reply))
