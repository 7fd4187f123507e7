"""The pre-training corpus of the tiny base, which knows the language of the task but solves few problems.

Half of the documents are plain text: small sentences, facts («7 * 4 = 8»), worked examples without a template. The
other half are the R1-Zero template with a question and a reply in one of seven styles, most of them bad:

    steps     all steps inside the tags, right answer        the style that RL should select
    leap      a few steps or none, then a result             right if the result happens to be
    guess     " <think> guess </think>", a random digit      well-formed, without reasoning
    no_tags   all steps, without tags                        right, but not readable for the rewards
    bare      a random digit                                 neither
    broken    missing or crossed tags                        neither
    off_topic a sentence                                     neither

So the base answers about one question in five correctly, and the step-by-step style exists before RL, which only
selects it. Questions with a complete solution have 2 to 4 operations. Longer ones occur too, but their replies guess or
stop after at most 4 operations. Problems come from the train split only (data_recipes/worlds/chain/problems.py).

Batch n is a pure function of (seed, n): a run that resumes at batch n needs no state of the corpus.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from data_recipes.templates import R1_ZERO
from data_recipes.worlds.chain.problems import OPERATORS, ChainProblem, apply, question, random_problem, steps

ChoiceT = TypeVar("ChoiceT")
STYLES = {
    "steps": 0.16,
    "leap": 0.14,
    "guess": 0.20,
    "no_tags": 0.10,
    "bare": 0.16,
    "broken": 0.14,
    "off_topic": 0.10,
}
"""Fraction of each style among the documents with the template."""
PLAIN = {"sentences": 0.30, "facts": 0.20, "worked": 0.50}
"""Fraction of each kind among the documents without the template."""
TEMPLATE_SHARE = 0.5
SOLVED_LENGTHS = {2: 1 / 3, 3: 1 / 3, 4: 1 / 3}
"""Fraction of each number of operations among questions with a complete solution. The fractions are equal because with
more of the longest chains one seed only learnt the positions of the operations."""
UNSOLVED_LENGTHS = (5, 6, 7)
UNSOLVED_SHARE = 0.3
"""Fraction of longer questions among the replies without a complete solution (leap, guess, bare, off_topic)."""
LEAP_RIGHT = 0.3
"""Probability that a leap gives the right result; otherwise it gives a random digit."""


@dataclass(frozen=True)
class Document:
    """A document of the corpus with its kind."""

    text: str
    kind: str
    """A style of `STYLES` or a kind of `PLAIN`."""
    problem: ChainProblem | None = None
    """The problem of the document, if it has one."""


def documents(seed: int, batch: int, count: int) -> list[Document]:
    """Return batch number `batch` of the corpus, `count` documents."""
    rng = random.Random(f"corpus/{seed}/{batch}")
    return [draw(rng) for _ in range(count)]


def draw(rng: random.Random) -> Document:
    """Draw one document."""
    if rng.random() >= TEMPLATE_SHARE:
        return _plain(rng, pick(rng, PLAIN))
    style = pick(rng, STYLES)
    problem = _problem(rng, solved=style in ("steps", "no_tags", "broken"))
    text = R1_ZERO.replace("{prompt}", question(problem)) + _REPLIES[style](rng, problem)
    return Document(text, style, problem)


def reply_in_steps(problem: ChainProblem) -> str:
    """Return the step-by-step reply as it follows the prompt."""
    return f" <think> {steps(problem)} </think> <answer> {problem.answer} </answer>"


def _steps(_: random.Random, problem: ChainProblem) -> str:
    return reply_in_steps(problem)


def _leap(rng: random.Random, problem: ChainProblem) -> str:
    is_long = problem.k > max(SOLVED_LENGTHS)
    result = problem.answer if rng.random() < LEAP_RIGHT and not is_long else _digit(rng)
    begun = steps(problem, rng.randrange(max(SOLVED_LENGTHS) + 1 if is_long else problem.k))
    return f" <think> {begun} then {result} </think> <answer> {result} </answer>"


def _guess(rng: random.Random, _: ChainProblem) -> str:
    return f" <think> guess </think> <answer> {_digit(rng)} </answer>"


def _no_tags(_: random.Random, problem: ChainProblem) -> str:
    return f" first {steps(problem)} ; result {problem.answer}."


def _bare(rng: random.Random, _: ChainProblem) -> str:
    return f" {_digit(rng)}."


def _broken(rng: random.Random, problem: ChainProblem) -> str:
    # The rewards find no answer in any of these: the content of an unclosed or crossed tag does not count.
    thought, answer = ("guess", _digit(rng)) if rng.random() < 0.5 else (steps(problem), problem.answer)
    forms = (
        f" <think> {thought} <answer> {answer}",
        f" <think> {thought} </think> {answer}.",
        f" <think> {thought} </answer> {answer}",
        f" <answer> {answer} <think> {thought} </think>",
    )
    return rng.choice(forms)


def _off_topic(rng: random.Random, _: ChainProblem) -> str:
    return _sentence(rng)


_REPLIES: dict[str, Callable[[random.Random, ChainProblem], str]] = {
    "steps": _steps,
    "leap": _leap,
    "guess": _guess,
    "no_tags": _no_tags,
    "bare": _bare,
    "broken": _broken,
    "off_topic": _off_topic,
}


def _plain(rng: random.Random, kind: str) -> Document:
    if kind == "sentences":
        return Document("".join(_sentence(rng) for _ in range(rng.randint(1, 3))), kind)
    if kind == "facts":
        return Document(" ;".join(_fact(rng) for _ in range(rng.randint(2, 5))) + ".", kind)
    problem = _problem(rng, solved=True)
    # The wording is that of replies after the template, so that it helps there.
    text = f" {question(problem)}. Assistant:{_no_tags(rng, problem)}"
    return Document(text, kind, problem)


def _fact(rng: random.Random) -> str:
    left, operator, right = _digit(rng), rng.choice(OPERATORS), _digit(rng)
    return f" {left} {operator} {right} = {apply(left, operator, right)}"


def _sentence(rng: random.Random) -> str:
    subject = f" {rng.choice(('the', 'a'))}{rng.choice(('', ' small', ' old'))} {rng.choice(_PEOPLE)}"
    object_ = f" {rng.choice(('the', 'a'))}{rng.choice(('', ' first', ' next'))} {rng.choice(_THINGS)}"
    return f"{subject} {rng.choice(_VERBS)}{object_}{rng.choice(('', ' in the book', ' of the user'))}."


_PEOPLE = ("boy", "girl", "teacher", "user")
_VERBS = ("reads", "writes", "sees", "asks")
_THINGS = ("book", "number", "question", "word", "answer")


def _problem(rng: random.Random, *, solved: bool) -> ChainProblem:
    if not solved and rng.random() < UNSOLVED_SHARE:
        return random_problem(rng, rng.choice(UNSOLVED_LENGTHS), "train")
    return random_problem(rng, pick(rng, SOLVED_LENGTHS), "train")


def _digit(rng: random.Random) -> int:
    return rng.randrange(10)


def pick(rng: random.Random, shares: Mapping[ChoiceT, float]) -> ChoiceT:
    """Draw a key with the probability that is its value."""
    return rng.choices(list(shares), weights=list(shares.values()))[0]
