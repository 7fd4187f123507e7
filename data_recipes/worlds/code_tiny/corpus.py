"""The pre-training corpus of the tiny code base, which knows the words and the lines of code but makes errors.

Three documents in ten map a phrase to its line of code and back. The others are a question of the train split with a
reply in one of seven styles:

    right      the program in a code fence                               the style that RL should select
    skip       one step is missing                                       runs and is wrong
    other      one step is replaced by another                           runs and is wrong
    swap       two steps are exchanged                                   right if their order does not matter
    broken     a colon or a bracket is missing                           does not compile
    bare       the program without a code fence                          no program for the reward
    words      the question again, without code                          no program for the reward

Batch n is a pure function of (seed, n).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from data_recipes.worlds.code_tiny.problems import (
    RETURNS,
    STEPS,
    ListProblem,
    program,
    question,
    random_problem,
)

STYLES = {
    "right": 0.20,
    "skip": 0.16,
    "other": 0.16,
    "swap": 0.12,
    "broken": 0.14,
    "bare": 0.12,
    "words": 0.10,
}
PHRASES_SHARE = 0.3
LENGTHS = (1, 2, 3, 4)
_MISSING = (("(xs):\n", "(xs)\n"), ("]\n", "\n"), (")\n", "\n"))


@dataclass(frozen=True)
class Document:
    """A document of the corpus with its kind."""

    text: str
    kind: str
    """A style of `STYLES`, or "phrases"."""
    problem: ListProblem | None = None


def documents(seed: int, batch: int, count: int) -> list[Document]:
    """Return batch number `batch` of the corpus, `count` documents."""
    rng = random.Random(f"code-tiny-corpus/{seed}/{batch}")
    return [draw(rng) for _ in range(count)]


def draw(rng: random.Random) -> Document:
    """Draw one document."""
    if rng.random() < PHRASES_SHARE:
        return Document("".join(_phrase(rng) for _ in range(rng.randint(2, 4))), "phrases")
    style = rng.choices(list(STYLES), weights=list(STYLES.values()))[0]
    least = 2 if style in ("skip", "swap") else 1
    problem = random_problem(rng, rng.choice([k for k in LENGTHS if k >= least]), "train")
    return Document(question(problem) + _reply(rng, style, problem), style, problem)


def fenced(text: str) -> str:
    """Return the program in a code fence, as the reward reads it."""
    return f"```python\n{text}```"


def _reply(rng: random.Random, style: str, problem: ListProblem) -> str:
    steps = list(problem.steps)
    if style == "skip":
        steps.pop(rng.randrange(problem.k))
    elif style == "other":
        at = rng.randrange(problem.k)
        steps[at] = rng.choice([name for name in STEPS if name != steps[at]])
    elif style == "swap":
        at = rng.randrange(problem.k - 1)
        steps[at], steps[at + 1] = steps[at + 1], steps[at]
    text = program(replace(problem, steps=tuple(steps)))
    if style == "broken":
        there = [(old, new) for old, new in _MISSING if old in text]
        text = text.replace(*rng.choice(there), 1)
    if style == "words":
        return question(problem).removeprefix("Write f:").removesuffix("\n")
    return text if style == "bare" else fenced(text)


def _phrase(rng: random.Random) -> str:
    pool = STEPS if rng.random() < 0.8 else RETURNS
    step = pool[rng.choice(list(pool))]
    line = f"    {'xs =' if pool is STEPS else 'return'} {step.code}\n"
    return f" {step.words}:\n{line}"
