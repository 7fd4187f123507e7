"""Builds tests for code problems: runs programs on candidate tests in the sandbox and selects (select.py).

Input, one problem per row:

    {"question": "…", "correct": ["def add(a, b): …"], "wrong": ["…"], "entry_point": "add",
     "tests": [{"args": [1, 2], "expected": 3}, {"args": [0, 0]}]}

A test without `expected` or `stdout` takes it from the first correct program; phase 1 then checks that all correct
programs give it, the first one in a second run. Mutants of the correct programs can be added to `wrong` (Python only).
Output: the row with the selected tests, without the programs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any  # Any: values of test cases, of any class

from data_recipes.code_tests.columns import candidates, programs
from data_recipes.code_tests.mutants import mutants
from data_recipes.code_tests.select import select_tests
from data_recipes.errors import DataError
from policies.json_types import JsonDict, JsonMapping
from rewards.code.data import NotPlain, decode, plain
from rewards.code.judge import BadCheck, Judge
from rewards.code.tests import BadTests, Problem, read_problem
from rewards.rows import RewardRow

PROGRAM_FIELDS = ("correct", "wrong")
_UNKNOWN = "\0expected of the correct program"


@dataclass
class BuildCounts:
    """Counts of the problems and tests of a file, by outcome."""

    problems: int = 0
    kept_problems: int = 0
    tests: int = 0
    kept: int = 0
    unfilled: int = 0
    """Tests without an expected result that the first correct program could give and JSON can hold."""
    unfit: int = 0
    """Tests dropped in phase 1: a correct program fails them."""
    idle: int = 0
    """Tests dropped in phase 2: no wrong program fails them."""
    spare: int = 0
    """Good tests beyond the requested number."""
    wrong_programs: int = 0
    survivors: int = 0
    """Wrong programs that pass all kept tests."""
    left_out: list[str] = field(default_factory=list)
    """Locations of problems without any test left."""


def build_tests(
    rows: Iterator[tuple[str, JsonMapping]],
    judge: Judge,
    counts: BuildCounts,
    mutants_of_each: int = 0,
    most: int | None = None,
    seed: int = 0,
    threads: int = 2,
) -> Iterator[JsonDict]:
    """Yield rows with their selected tests, in order, and add the outcomes to `counts`.

    Args:
        rows: (location, row) pairs.
        judge: runs the programs; its total time must be enough for all tests of a problem.
        counts: the counts to add to.
        mutants_of_each: mutants made of each correct program.
        most: maximum number of tests per problem; None keeps all.
        seed: seed of the mutants.
        threads: problems that run at the same time.

    Raises:
        DataError: a row cannot be used; the message begins with its location.
        NoVerdict: the sandbox failed, or lacks a language.
    """

    def one(item: tuple[str, JsonMapping]) -> tuple[str, JsonDict | None, dict[str, int]]:
        return item[0], *build_one(item[0], item[1], judge, mutants_of_each, most, seed)

    with ThreadPoolExecutor(threads) as pool:
        while chunk := list(islice(rows, 8 * threads)):
            for where, row, found in pool.map(one, chunk):
                counts.problems += 1
                for name, value in found.items():
                    setattr(counts, name, getattr(counts, name) + value)
                if row is None:
                    counts.left_out.append(where)
                else:
                    counts.kept_problems += 1
                    yield row


def build_one(
    where: str, row: JsonMapping, judge: Judge, mutants_of_each: int, most: int | None, seed: int
) -> tuple[JsonDict | None, dict[str, int]]:
    """Return the row of one problem, or None if no test is left, and its counts."""
    correct, wrong = (programs(where, row, name) for name in PROGRAM_FIELDS)
    if not correct:
        raise DataError(f"{where}: no correct program; phase 1 needs at least one")
    tests = candidates(where, row)
    if not tests:
        raise DataError(f"{where}: no candidate tests; `grpo tests generate` makes them")
    try:
        problem = _problem(row, [_with_unknown(test) for test in tests])
        filled = _fill(tests, problem, judge, correct[0])
        ready = [test for test in filled if test is not None]
        if problem.language == "python":
            wrong += [text for program in correct for text in _mutants(where, program, mutants_of_each, seed)]
        counts = {"tests": len(tests), "unfilled": len(tests) - len(ready), "wrong_programs": len(wrong)}
        if not ready:
            return None, counts
        problem = _problem(row, ready)
        passes = [[r.passed for r in judge.results(problem, program)] for program in (*correct, *wrong)]
    except (BadTests, BadCheck) as error:
        raise DataError(f"{where}: {error}") from error
    chosen = select_tests(passes[: len(correct)], passes[len(correct) :], most)
    counts |= {name: len(getattr(chosen, name)) for name in ("kept", "unfit", "idle", "spare", "survivors")}
    if not chosen.kept:
        return None, counts
    rest = {name: value for name, value in row.items() if name not in PROGRAM_FIELDS}
    return rest | {"tests": [ready[t] for t in chosen.kept]}, counts


def _problem(row: JsonMapping, tests: Sequence[object]) -> Problem:
    problem = read_problem(RewardRow("", columns=dict(row) | {"tests": list(tests)}))
    assert problem is not None
    return problem


def _with_unknown(test: object) -> object:
    """Return the test with a placeholder for a missing expected result, so that it can be read."""
    if not isinstance(test, Mapping) or _expects(test):
        return test
    return {**test, "expected" if "args" in test or "kwargs" in test else "stdout": _UNKNOWN}


def _expects(test: JsonMapping) -> bool:
    return any(name in test for name in ("expected", "stdout", "output"))


def _fill(tests: Sequence[Any], problem: Problem, judge: Judge, program: str) -> list[Any]:
    """Return the candidates with their expected results; None where the program gives none."""
    open_ = [at for at, test in enumerate(tests) if isinstance(test, Mapping) and not _expects(test)]
    if not open_:
        return list(tests)
    asked = Problem(problem.language, tuple(problem.tests[at] for at in open_), problem.entry_point)
    filled = list(tests)
    for at, output in zip(open_, judge.outputs(asked, program), strict=True):
        filled[at] = _filled(tests[at], output)
    return filled


def _filled(test: JsonMapping, output: str | bytes | None) -> JsonDict | None:
    if output is None:
        return None
    if isinstance(output, str):
        return {**test, "stdout": output}
    try:
        value = plain(decode(output))
        text = json.dumps(value, allow_nan=False)
    except (NotPlain, TypeError, ValueError):
        return None
    return {**test, "expected": json.loads(text)}


def _mutants(where: str, program: str, count: int, seed: int) -> list[str]:
    try:
        return mutants(program, count, seed) if count else []
    except SyntaxError as error:
        raise DataError(f"{where}: a correct program is not valid Python: {error}") from error
