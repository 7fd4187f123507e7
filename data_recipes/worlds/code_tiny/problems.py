"""A procedural task for code: a function over a list of integers, described in words.

    problem = ListProblem(("keep_even", "double"), "sum")
    question(problem)      Write f: keep the even numbers, double each number, return the sum.
    program(problem)       def f(xs):
                               xs = [x for x in xs if x % 2 == 0]
                               xs = [x * 2 for x in xs]
                               return sum(xs)

The tests' expected results come from the Python functions of this file, not from the program text. A hash of the
problem puts one in five into the held-out split.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise, product
from typing import Any  # Any: a list or a number

from data_recipes.procedural import CodeTinyParams, Split
from policies.json_types import JsonDict

ENTRY_POINT = "f"
_HELD_OUT_OF_10 = 2


@dataclass(frozen=True)
class Step:
    """One operation on the list, in words, as code and as a function."""

    words: str
    code: str
    """The right-hand side of `xs = …`, or the returned expression."""
    apply: Callable[[list[int]], Any]


STEPS: dict[str, Step] = {
    "keep_even": Step(
        "keep the even numbers", "[x for x in xs if x % 2 == 0]", lambda xs: [x for x in xs if not x & 1]
    ),
    "keep_odd": Step(
        "keep the odd numbers", "[x for x in xs if x % 2 == 1]", lambda xs: [x for x in xs if x & 1]
    ),
    "keep_positive": Step(
        "keep the positive numbers", "[x for x in xs if x > 0]", lambda xs: [x for x in xs if x >= 1]
    ),
    "keep_negative": Step(
        "keep the negative numbers", "[x for x in xs if x < 0]", lambda xs: [x for x in xs if x <= -1]
    ),
    "double": Step("double each number", "[x * 2 for x in xs]", lambda xs: [x + x for x in xs]),
    "square": Step("square each number", "[x * x for x in xs]", lambda xs: [x**2 for x in xs]),
    "negate": Step("negate each number", "[-x for x in xs]", lambda xs: [0 - x for x in xs]),
    "add_one": Step("add one to each number", "[x + 1 for x in xs]", lambda xs: [x - -1 for x in xs]),
    "sort": Step("sort the numbers", "sorted(xs)", lambda xs: sorted(xs)),
    "reverse": Step("reverse the list", "xs[::-1]", lambda xs: list(reversed(xs))),
    "drop_first": Step("drop the first number", "xs[1:]", lambda xs: [x for n, x in enumerate(xs) if n]),
    "drop_last": Step(
        "drop the last number", "xs[:-1]", lambda xs: [x for n, x in enumerate(xs, 1) if n < len(xs)]
    ),
}
RETURNS: dict[str, Step] = {
    "list": Step("return the list", "xs", lambda xs: xs),
    "sum": Step("return the sum", "sum(xs)", lambda xs: sum(xs)),
    "count": Step("return the count", "len(xs)", lambda xs: len(xs)),
    "largest": Step("return the largest", "max(xs, default=0)", lambda xs: sorted([*xs])[-1] if xs else 0),
}


@dataclass(frozen=True)
class ListProblem:
    """The steps of a function, in order, and its return value."""

    steps: tuple[str, ...]
    returns: str

    @property
    def k(self) -> int:
        """Number of steps."""
        return len(self.steps)

    @property
    def split(self) -> Split:
        """The problem's split, from a hash of its steps."""
        key = " ".join((*self.steps, self.returns))
        return "held-out" if hashlib.sha256(key.encode()).digest()[0] % 10 < _HELD_OUT_OF_10 else "train"


_PROBES = tuple(
    tuple(random.Random(f"code-tiny/probe/{n}").randint(-9, 9) for _ in range(n)) for n in (5, 6, 7, 8)
)
"""Lists whose results must differ if a step is left out."""


@cache
def is_whole(problem: ListProblem) -> bool:
    """Return True if every step matters and none repeats the one before (sorting before a sum does not matter)."""
    if any(a == b for a, b in pairwise(problem.steps)):
        return False
    results = [solve(problem, list(xs)) for xs in _PROBES]
    shorter = (replace(problem, steps=problem.steps[:n] + problem.steps[n + 1 :]) for n in range(problem.k))
    return all([solve(s, list(xs)) for xs in _PROBES] != results for s in shorter)


def question(problem: ListProblem) -> str:
    """Return the task in words, with a line end."""
    phrases = [STEPS[s].words for s in problem.steps] + [RETURNS[problem.returns].words]
    return f"Write f: {', '.join(phrases)}.\n"


def program(problem: ListProblem) -> str:
    """Return the program, with one line per step."""
    lines = [f"    xs = {STEPS[s].code}" for s in problem.steps]
    return "\n".join(["def f(xs):", *lines, f"    return {RETURNS[problem.returns].code}", ""])


def solve(problem: ListProblem, numbers: list[int]) -> object:
    """Return the result of f for these numbers."""
    for step in problem.steps:
        numbers = STEPS[step].apply(numbers)
    return RETURNS[problem.returns].apply(numbers)


def make_tests(problem: ListProblem, rng: random.Random) -> list[JsonDict]:
    """Return calls with their results for lists of 0, 1, 5 and 8 numbers that reveal any missing step."""
    shorter = [replace(problem, steps=problem.steps[:n] + problem.steps[n + 1 :]) for n in range(problem.k)]
    while True:
        lists = [[rng.randint(-9, 9) for _ in range(n)] for n in (0, 1, 5, 8)]
        if all(any(solve(s, xs) != solve(problem, xs) for xs in lists) for s in shorter):
            return [{"args": [xs], "expected": solve(problem, list(xs))} for xs in lists]


def random_problem(rng: random.Random, k: int, split: Split) -> ListProblem:
    """Draw a problem of k steps from this split; every step matters."""
    while True:
        steps = tuple(rng.choice(list(STEPS)) for _ in range(k))
        problem = ListProblem(steps, rng.choice(list(RETURNS)))
        if problem.split == split and is_whole(problem):
            return problem


def rows(seed: int, split: Split, params: CodeTinyParams) -> Iterator[tuple[str, JsonDict]]:
    """Yield (location, row) of the source "code-tiny" with question, tests, entry_point, answer (a program) and k.

    Raises:
        ValueError: there are fewer problems than requested.
    """
    rng = random.Random(f"code-tiny/{seed}/{split}")
    lengths = range(params.min_steps, params.max_steps + 1)
    share = -(-params.count // len(lengths))
    for k in lengths:
        if share > (available := _count(k, split)):
            raise ValueError(
                f"{share} problems of {k} steps asked for, split {split!r} has {available}; lower params.count"
            )
    seen: set[ListProblem] = set()
    for number in range(params.count):
        problem = random_problem(rng, lengths[number % len(lengths)], split)
        while problem in seen:
            problem = random_problem(rng, problem.k, split)
        seen.add(problem)
        row = {
            "question": question(problem),
            "answer": program(problem),
            "tests": make_tests(problem, rng),
            "entry_point": ENTRY_POINT,
            "k": problem.k,
        }
        yield f"code-tiny, {split} problem {number + 1}", row


@cache
def _count(k: int, split: Split) -> int:
    """Return the number of problems of k steps in a split; for more than two steps a lower bound."""
    if k > 2:
        return 150
    every = (ListProblem(steps, last) for steps in product(STEPS, repeat=k) for last in RETURNS)
    return sum(p.split == split and is_whole(p) for p in every)
