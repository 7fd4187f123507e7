"""Reward `code`: runs the program of a completion in the sandbox against the row's tests.

[[rewards]]
name = "code"
params = { credit = "fraction", test_s = 2.0 }

A sandbox failure, or a language that the sandbox lacks, says nothing about the program: the sample abstains. Tests
that cannot be read give an `error`. Otherwise the program passes or fails, with a reason.
"""

from __future__ import annotations

from typing import Literal

from policies.json_types import JsonMapping
from rewards.code.judge import MIB, BadCheck, Bounds, Judge, NoVerdict, Result
from rewards.code.program import continuation_of, program_of
from rewards.code.tests import BadTests, Problem, read_problem
from rewards.rows import RewardRow
from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.settings import SandboxSettings
from rewards.sandbox.shared import shared_sandbox
from rewards.sandbox.types import LANGUAGES
from rewards.types import Score
from rewards.values import failed, shorten


class Code:
    """Gives 1.0 if the program passes all tests, else 0.0; or the fraction of tests that it passes.

    Args:
        language: language of rows without a column `programming_language`.
        credit: "all" or "fraction".
        test_s: wall time of one test in seconds.
        total_s: wall time of all tests of a completion in seconds.
        compile_s: wall time of the compiler in seconds.
        wait_s: seconds that the sandbox may take in addition, waits for a shared one included; after that the sample
            abstains.
        memory_mb: resident memory of the program in MB.
        tolerance: where a number with a point is expected, a difference of tolerance · max(1, |expected|) is
            accepted.
        given: column with the code before the completion; None: the question, if it is that code (HumanEval).
        continues: the completion continues that code without a fence, as a base model writes it.
        sandbox: settings of the sandbox, e.g. { tier = "landlock" } or { urls = ["http://sandbox-1:8080"] }.

    Raises:
        ValueError: the language or the credit is unknown.
        SandboxUnavailable: this host has no sandbox of the requested tier, or no named host has one.
    """

    def __init__(
        self,
        language: str = "python",
        credit: Literal["all", "fraction"] = "all",
        test_s: float = 4.0,
        total_s: float = 8.0,
        compile_s: float = 30.0,
        wait_s: float = 30.0,
        memory_mb: int = 512,
        tolerance: float = 1e-6,
        given: str | None = None,
        continues: bool = False,
        sandbox: JsonMapping | None = None,
    ) -> None:
        if language not in LANGUAGES:
            raise ValueError(f"language = {language!r}; there are {', '.join(LANGUAGES)}")
        if credit not in ("all", "fraction"):
            raise ValueError(f'credit = {credit!r}; expected "all" or "fraction"')
        self._language, self._all = language, credit == "all"
        self._bounds = Bounds(
            test_s=test_s,
            total_s=total_s,
            compile_s=compile_s,
            wait_s=wait_s,
            memory_bytes=memory_mb * MIB,
            tolerance=tolerance,
        )
        self._given, self._continues = given, continues
        self._settings = SandboxSettings(**(sandbox or {}))
        shared_sandbox(self._settings)  # a host without the sandbox fails here, before any training

    def __call__(self, row: RewardRow) -> Score:
        """Judge one completion."""
        try:
            problem = read_problem(row, self._language, self._given)
        except BadTests as error:
            return failed("error", f"the row's tests: {error}")
        if problem is None:
            return failed("abstain", "the row has no tests")
        if self._continues and not problem.given:
            return failed(
                "error", "continues: the row has no code that the completion could continue; set `given`"
            )
        program = self._program(row.completion, problem)
        if program is None:
            return Score(0.0, reason=f"no complete {problem.language} program in the answer")
        try:
            judge = Judge(shared_sandbox(self._settings), self._bounds)
            results = judge.results(problem, program, stop=self._all)
        except (NoVerdict, SandboxUnavailable) as error:
            return failed("abstain", str(error))
        except BadCheck as error:
            return failed("error", f"the row's tests: {error}")
        return self._score(results, len(problem.tests))

    def _program(self, completion: str, problem: Problem) -> str | None:
        if self._continues:
            return problem.given + continuation_of(completion)
        program = program_of(completion, problem.language, problem.entry_point)
        if program is None or not problem.given or "from __future__" in program:
            return program
        # The given code provides imports and definitions; the program's own definition comes last and overrides them.
        return f"{problem.given.rstrip()}\n\n{program}"

    def _score(self, results: list[Result], count: int) -> Score:
        passed = sum(result.passed for result in results)
        value = float(passed == count) if self._all else passed / count
        at = next((at for at, result in enumerate(results) if not result.passed), None)
        reason = "" if at is None else shorten(f"test {at + 1} of {count}: {results[at].reason}")
        return Score(value, reason=reason)
