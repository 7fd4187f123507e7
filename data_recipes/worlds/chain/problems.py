"""A procedural task: k operations modulo 10, computed from left to right.

    problem = ChainProblem((7, 4, 3), "*+")      "7 * 4 + 3"   k = 2
    question(problem)      "compute modulo 10 from left to right: 7 * 4 + 3"
    steps(problem)         "7 * 4 = 8 + 3 = 1"       a running tally, as on a calculator
    problem.answer         1

The split depends on the text alone. Every window of two neighbouring operations («7 * 4 + 3») is hashed, and a tenth of
the windows is reserved. A problem is held out if its first window is reserved, and in the train split if none of its
windows is. So no held-out question, and not even its first two operations, can occur in a text about train problems.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

from data_recipes.procedural import ChainParams, Split
from policies.json_types import JsonDict

OPERATORS = "+-*"
BASE = 10
RESERVED_SHARE = 10
"""One window in this many is reserved for held-out problems."""


@dataclass(frozen=True)
class ChainProblem:
    """Operands (k+1 single digits) and operators (k characters of "+-*")."""

    operands: tuple[int, ...]
    operators: str

    @property
    def k(self) -> int:
        """Number of operations."""
        return len(self.operators)

    @cached_property
    def text(self) -> str:
        """The problem as text, e.g. "7 * 4 + 3"."""
        rest = zip(self.operators, self.operands[1:], strict=True)
        return " ".join([str(self.operands[0]), *(f"{o} {x}" for o, x in rest)])

    @cached_property
    def values(self) -> tuple[int, ...]:
        """Intermediate results after each operation, each in 0…9; the last is the answer."""
        results, value = [], self.operands[0]
        for operator, operand in zip(self.operators, self.operands[1:], strict=True):
            value = apply(value, operator, operand)
            results.append(value)
        return tuple(results)

    @property
    def answer(self) -> int:
        """The result, 0 … 9."""
        return self.values[-1]


def apply(left: int, operator: str, right: int) -> int:
    """Return the result of one operation modulo 10 (3 - 5 = 8)."""
    if operator == "+":
        return (left + right) % BASE
    if operator == "-":
        return (left - right) % BASE
    return (left * right) % BASE


def question(problem: ChainProblem) -> str:
    """Return the question in words."""
    return f"compute modulo 10 from left to right: {problem.text}"


def steps(problem: ChainProblem, taken: int | None = None) -> str:
    """Return the worked solution: each operation with its result, to which the next one is applied.

    The tally does not repeat a result before the next operation. So every operation takes four tokens, and the tokens
    that the policy must look up are at few distances, which a tiny policy learns several times sooner.

    Args:
        problem: the problem to solve.
        taken: number of operations to write; None writes all.
    """
    done = zip(problem.operators, problem.operands[1:], problem.values, strict=True)
    lines = [f"{operator} {right} = {value}" for operator, right, value in done][:taken]
    return " ".join([str(problem.operands[0]), *lines])


@cache
def is_reserved(left: int, first: str, middle: int, second: str, right: int) -> bool:
    """Return True if the window "left first middle second right" is reserved for held-out problems.

    There are 9,000 windows.
    """
    digest = hashlib.sha256(f"chain/{left}{first}{middle}{second}{right}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % RESERVED_SHARE == 0


def split_of(problem: ChainProblem) -> Split | None:
    """Return a problem's split; None if a window after the first is reserved."""
    x, o = problem.operands, problem.operators
    reserved = [is_reserved(x[i], o[i], x[i + 1], o[i + 1], x[i + 2]) for i in range(problem.k - 1)]
    if reserved[0]:
        return "held-out"
    return None if any(reserved) else "train"


def random_problem(rng: random.Random, k: int, split: Split) -> ChainProblem:
    """Draw a problem of k ≥ 2 operations uniformly from a split."""
    while True:
        operands = tuple(rng.randrange(BASE) for _ in range(k + 1))
        operators = "".join(rng.choice(OPERATORS) for _ in range(k))
        problem = ChainProblem(operands, operators)
        if split_of(problem) == split:
            return problem


def distinct_problems(
    seed: int, split: Split, lengths: range, count: int, key: str = "count"
) -> Iterator[ChainProblem]:
    """Yield `count` different problems with the lengths in turn, so that all lengths are equally frequent.

    `key` is the name of the count in an error.

    Raises:
        ValueError: a length has fewer problems than requested.
    """
    rng = random.Random(f"chain/{seed}/{split}")
    share = -(-count // len(lengths))
    if 2 in lengths and share > (available := _count_k2(split)):
        raise ValueError(
            f"lower {key}: {share} problems with k = 2 asked for, split {split!r} has {available}"
        )
    seen: set[str] = set()
    for number in range(count):
        k = lengths[number % len(lengths)]
        while (problem := random_problem(rng, k, split)).text in seen:
            pass
        seen.add(problem.text)
        yield problem


def rows(seed: int, split: Split, params: ChainParams) -> Iterator[tuple[str, JsonDict]]:
    """Yield rows of the source "chain": (location, row) with question, answer and k.

    Raises:
        ValueError: there are fewer problems than requested.
    """
    lengths = range(params.min_ops, params.max_ops + 1)
    problems = distinct_problems(seed, split, lengths, params.count, "params.count")
    for number, problem in enumerate(problems, 1):
        row = {"question": question(problem), "answer": str(problem.answer), "k": problem.k}
        yield f"chain, {split} problem {number}", row


@cache
def _count_k2(split: Split) -> int:
    reserved = sum(
        is_reserved(a, o, b, p, c)
        for a in range(BASE)
        for o in OPERATORS
        for b in range(BASE)
        for p in OPERATORS
        for c in range(BASE)
    )
    return reserved if split == "held-out" else (BASE * len(OPERATORS)) ** 2 * BASE - reserved
