"""Runs programs against their tests. Expected results stay here; the sandbox gets only programs and inputs.

stdin and stdout    run(program, stdin) ──bytes──▶ same_output
calls               run(driver, program + arguments) ──values──▶ same
check               run(checker, test code) ──calls──▶ driver ──values──▶ checker ──▶ verdict
                    (two runs in separate sandboxes: the program never runs where the check does)

The sandbox is any `JobRunner`: the local one, or a pool of hosts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any  # Any: values that a program takes or returns

from rewards.code.answers import SHOWN_CHARS, Answer, frames
from rewards.code.bundle import bundle
from rewards.code.checker import MAX_CALLS
from rewards.code.compare import same_output
from rewards.code.data import Items, NotPlain, decode, encode, same
from rewards.code.tests import CallTest, CheckTest, Problem, StdioTest, Test
from rewards.sandbox.types import Job, JobRunner, Limits, Outcome

MIB = 1024 * 1024
_INTERPRETED = ("python", "javascript", "bash")
_CHECK_S = 2.0
_ALARM_EXIT = 128 + 14


class NoVerdict(Exception):
    """The sandbox failed or lacks the language, so nothing is known about the program."""


class BadCheck(Exception):
    """The test code itself cannot be used."""


@dataclass(frozen=True)
class Bounds:
    """Limits for judging one program."""

    test_s: float = 4.0
    """Wall time of one test."""
    total_s: float = 8.0
    """Wall time of all tests together, without compilation."""
    compile_s: float = 30.0
    wait_s: float = 30.0
    """Time that all tests together may take in addition to running and compiling the program: to start sandboxes, and
    to wait for shared ones."""
    memory_bytes: int = 512 * MIB
    tolerance: float = 1e-6
    """Numeric tolerance; see `same_output` and `rewards.code.data.same`."""


@dataclass(frozen=True)
class Result:
    """The outcome of one test."""

    passed: bool
    reason: str = ""
    """The reason for a failure."""


@dataclass
class _Budget:
    """The time that a program has left. Time that the sandbox takes in addition to the program's own runs is counted
    separately, so that a busy host costs a program nothing."""

    run_s: float
    wait_s: float

    def spend(self, elapsed_s: float, outcomes: Sequence[Outcome], compile_s: float) -> None:
        """Charge finished runs that took `elapsed_s` of wall time, waits included."""
        run_s = sum(outcome.wall_s for outcome in outcomes)
        self.run_s -= run_s
        self.wait_s -= max(0.0, elapsed_s - run_s - compile_s)


class Judge:
    """Judges programs in one sandbox; thread-safe."""

    def __init__(self, runner: JobRunner, bounds: Bounds | None = None) -> None:
        self._runner, self._bounds = runner, bounds or Bounds()

    def results(self, problem: Problem, program: str, stop: bool = False) -> list[Result]:
        """Run the tests and return one result per test, in order.

        Args:
            problem: the problem with its tests.
            program: source text of the program.
            stop: True leaves out the tests after the first failure.

        Raises:
            NoVerdict: the sandbox failed, lacks the language, or made the program wait too long.
            BadCheck: the test code cannot be used.
        """
        budget = self._budget()
        found: list[Result] = []
        for tests in _runs(problem.tests):
            if isinstance(tests[0], StdioTest):
                found += self._stdio(problem.language, program, tests, budget, stop)  # type: ignore[arg-type]
            elif isinstance(tests[0], CallTest):
                found += self._calls(problem.entry_point, program, tests, budget, stop)  # type: ignore[arg-type]
            else:
                found += self._checks(problem.entry_point, program, tests, budget, stop)  # type: ignore[arg-type]
            if stop and not found[-1].passed:
                break
        return found

    def outputs(self, problem: Problem, program: str) -> list[str | bytes | None]:
        """Return a program's results on the tests' inputs, ignoring the expected ones: its stdout, or the encoded
        result of a call; None where it fails, and for checks.

        Raises:
            NoVerdict: as in `results`.
        """
        budget = self._budget()
        found: list[str | bytes | None] = []
        for tests in _runs(problem.tests):
            if isinstance(tests[0], StdioTest):
                inputs = [test.stdin for test in tests if isinstance(test, StdioTest)]
                outcomes = self._run_all(problem.language, program, inputs, budget, None)
                found += [None if _trouble(o) else o.stdout.decode(errors="replace") for o in outcomes]
            elif isinstance(tests[0], CallTest):
                calls = [test.call for test in tests if isinstance(test, CallTest)]
                answers = self._answers(program, problem.entry_point, calls, budget, False, True)
                found += [a.parts[0] if a.kind == "value" else None for a in answers]
            else:
                found += [None] * len(tests)
        return found

    def _stdio(
        self, language: str, program: str, tests: Sequence[StdioTest], budget: _Budget, stop: bool
    ) -> list[Result]:
        inputs = [test.stdin for test in tests]
        if language not in _INTERPRETED:
            outcomes = self._run_all(language, program, inputs, budget, self._bounds.total_s)
            results = [self._judged(o, t) for o, t in zip(outcomes, tests, strict=True)]
            return _up_to_failure(results) if stop else results
        results = []
        for test in tests:
            results.append(self._judged(self._run(language, program, test.stdin, budget), test))
            if stop and not results[-1].passed:
                break
        return results

    def _judged(self, outcome: Outcome, test: StdioTest) -> Result:
        if (reason := _trouble(outcome)) is not None:
            return Result(False, reason)
        if same_output(outcome.stdout, test.stdout, self._bounds.tolerance):
            return Result(True)
        shown = outcome.stdout[:SHOWN_CHARS].decode(errors="replace")
        return Result(False, f"printed {shown!r}, expected {test.stdout[:SHOWN_CHARS]!r}")

    def _calls(
        self, entry_point: str, program: str, tests: Sequence[CallTest], budget: _Budget, stop: bool
    ) -> list[Result]:
        answers = self._answers(program, entry_point, [t.call for t in tests], budget, False, not stop)
        results = [self._returned(a, t) for a, t in zip(answers, tests, strict=False)]
        return _up_to_failure(results) if stop else results

    def _returned(self, answer: Answer, test: CallTest) -> Result:
        if answer.kind != "value":
            return Result(False, answer.shown())
        try:
            value = decode(answer.parts[0])
        except NotPlain as error:
            return Result(False, f"returned what is no value: {error}")
        wanted = [test.expected] if test.or_expected is None else [test.expected, test.or_expected]
        if any(same(value, w, self._bounds.tolerance, loose=True) for w in wanted):
            return Result(True)
        return Result(False, f"returned {_shown(value)}, expected {test.expected!r}"[: 2 * SHOWN_CHARS])

    def _checks(
        self, entry_point: str, program: str, tests: Sequence[CheckTest], budget: _Budget, stop: bool
    ) -> list[Result]:
        if stop and len(tests) > 1 and all("def check" not in test.code for test in tests):
            joined = CheckTest("\n".join(test.code for test in tests), tests[0].setup)
            result = self._check(entry_point, program, joined, budget)
            return [result] * len(tests) if result.passed else [result]
        results: list[Result] = []
        for test in tests:
            results.append(self._check(entry_point, program, test, budget))
            if stop and not results[-1].passed:
                break
        return results

    def _check(self, entry_point: str, program: str, test: CheckTest, budget: _Budget) -> Result:
        calls = self._first_calls(test.setup, test.code, entry_point, budget)
        while True:  # one round per result that the next call depends on; the budget bounds the loop
            answers = self._answers(program, entry_point, calls, budget, True, False)
            known = [(call, answer.kind, *answer.parts) for call, answer in zip(calls, answers, strict=False)]
            request = _request(test, entry_point, known)
            outcome = self._run("python", self._bundle("checker"), request, budget, self._check_s)
            if (reason := _trouble(outcome)) is not None:
                return Result(False, f"the check, with the program's results: {reason}")
            kind, *rest = _reply(outcome)
            if kind == "passed":
                return Result(True)
            if kind == "failed":
                return Result(False, rest[0])
            if kind != "calls":
                raise BadCheck(rest[0])
            calls = rest[0]

    def _first_calls(self, setup: str, code: str, entry_point: str, budget: _Budget) -> list[bytes]:
        """Return the calls of a check that can be found without a program; cached, because a whole group uses them.

        Raises:
            BadCheck: the check makes no call.
        """
        found = _guessed.get((setup, code, entry_point))
        if found is None:
            request, alone = _request(CheckTest(code, setup), entry_point, []), self._budget()
            alone.wait_s = budget.wait_s  # this does not count against the program's own run time
            outcome = self._run("python", self._bundle("checker"), request, alone, self._check_s)
            budget.wait_s = alone.wait_s
            if (reason := _trouble(outcome)) is not None:
                raise BadCheck(f"the check by itself: {reason}")
            kind, *rest = _reply(outcome)
            if kind != "calls":
                raise BadCheck(rest[0] if rest else f"the check says {kind!r} without a program")
            if len(rest[0]) > MAX_CALLS:
                raise BadCheck(f"the check makes more than {MAX_CALLS} calls")
            found = _guessed.put((setup, code, entry_point), rest[0])
        return found

    def _answers(
        self,
        program: str,
        entry_point: str,
        calls: Sequence[bytes],
        budget: _Budget,
        report_arguments: bool,
        go_on: bool,
    ) -> list[Answer]:
        """Compute all calls, or with `go_on` False those up to the first one in which the program dies.

        After a call that the program does not survive, it is restarted with the next call.
        """
        answers: list[Answer] = []
        while len(answers) < len(calls):
            left = list(calls[len(answers) :])
            request = encode((program, entry_point, left, self._bounds.test_s, report_arguments))
            # All calls of one start share a process and its total time; each has an alarm of its own.
            wall_s = len(left) * self._bounds.test_s
            outcome = self._run("python", self._bundle("driver"), request, budget, wall_s)
            new = frames(outcome.stdout, len(left))
            trouble = _trouble(outcome)
            if new and new[0].kind == "unloadable":
                return answers + [Answer("died", (f"the program by itself {new[0].shown()}",))] * len(left)
            if len(new) < len(left):
                new.append(Answer("died", (self._fate(outcome, trouble),)))
            elif trouble is not None:
                new[-1] = Answer("died", (trouble,))
            answers += new
            if not go_on and answers[-1].kind == "died":
                break
        return answers

    def _fate(self, outcome: Outcome, trouble: str | None) -> str:
        if outcome.exit_code == _ALARM_EXIT:
            return f"a call ran longer than {self._bounds.test_s:g} s"
        return trouble or "the program ended the process, or disturbed its result channel"

    @property
    def _check_s(self) -> float:
        """Return the wall time of one pass of a check, which does not include the program."""
        return max(self._bounds.test_s, _CHECK_S)

    def _run(
        self, language: str, source: str | bytes, stdin: bytes, budget: _Budget, wall_s: float | None = None
    ) -> Outcome:
        wall_s = min(budget.run_s, self._bounds.test_s if wall_s is None else wall_s)
        if wall_s <= 0:
            reason = f"no time left of {self._bounds.total_s:g} s for all tests"
            return Outcome("time_limit", reason, None, b"", b"", 0.0, 0.0, 0, "")
        return self._do(Job(language, _bytes(source), (stdin,), self._limits(wall_s)), budget)[0]

    def _run_all(
        self, language: str, source: str, stdins: Sequence[bytes], budget: _Budget, total_s: float | None
    ) -> list[Outcome]:
        """Compile once if the language needs it, then run on every input."""
        return self._do(Job(language, _bytes(source), tuple(stdins), self._limits(), total_s), budget)

    def _do(self, job: Job, budget: _Budget) -> list[Outcome]:
        if budget.wait_s <= 0:
            raise NoVerdict(f"waited longer than {self._bounds.wait_s:g} s for the sandbox")
        started = time.monotonic()
        outcomes = self._runner.run_job(replace(job, wait_s=budget.wait_s))
        compile_s = 0.0 if job.language in _INTERPRETED else self._bounds.compile_s
        budget.spend(time.monotonic() - started, outcomes, compile_s)
        return outcomes

    def _budget(self) -> _Budget:
        return _Budget(self._bounds.total_s, self._bounds.wait_s)

    def _bundle(self, last: str) -> bytes:
        return bundle(last, self._runner.has_same_python)

    def _limits(self, wall_s: float | None = None) -> Limits:
        bounds = self._bounds
        limits = Limits(compile_wall_s=bounds.compile_s, memory_bytes=bounds.memory_bytes)
        return replace(limits, wall_s=bounds.test_s if wall_s is None else wall_s)


class _Kept:
    """A bounded cache of calls by check."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: dict[object, list[bytes]] = {}

    def get(self, key: object) -> list[bytes] | None:
        return self._kept.get(key)

    def put(self, key: object, calls: list[bytes]) -> list[bytes]:
        if len(self._kept) >= self._size:
            self._kept.clear()
        self._kept[key] = calls
        return calls


_guessed = _Kept(1024)


def _bytes(source: str | bytes) -> bytes:
    return source.encode(errors="surrogatepass") if isinstance(source, str) else source


def _runs(tests: Sequence[Test]) -> list[list[Test]]:
    """Group consecutive tests of the same kind."""
    runs: list[list[Test]] = []
    for test in tests:
        if runs and type(runs[-1][0]) is type(test):
            runs[-1].append(test)
        else:
            runs.append([test])
    return runs


def _up_to_failure(results: Sequence[Result]) -> list[Result]:
    first = next((at for at, result in enumerate(results) if not result.passed), len(results))
    return list(results[: first + 1])


def _trouble(outcome: Outcome) -> str | None:
    """Return the reason why a run failed, or None if it ended normally.

    Raises:
        NoVerdict: the program did not cause the failure.
    """
    if outcome.verdict in ("sandbox_error", "unsupported_language"):
        raise NoVerdict(f"{outcome.verdict}: {outcome.reason}")
    if outcome.verdict == "ok":
        return None
    last = outcome.stderr[-4 * SHOWN_CHARS :].decode(errors="replace").strip().rpartition("\n")[2]
    detail = (
        f" ({last[:SHOWN_CHARS]})" if last and outcome.verdict in ("runtime_error", "compile_error") else ""
    )
    return f"{outcome.verdict}: {outcome.reason}{detail}"


def _request(test: CheckTest, entry_point: str, known: Sequence[tuple[object, ...]]) -> bytes:
    return encode((test.setup, test.code, entry_point, list(known)))


def _reply(outcome: Outcome) -> tuple[Any, ...]:
    """Parse the checker's reply; no program runs in the checker's process, so the reply is trusted."""
    try:
        reply = decode(outcome.stdout)
    except NotPlain as error:
        raise BadCheck(f"the check wrote over its own verdict: {error}") from None
    if not isinstance(reply, tuple) or not reply:
        raise BadCheck("the check wrote over its own verdict")
    return reply


_KINDS = {"d": "dict", "e": "set", "z": "frozenset", "g": "iterator"}


def _shown(value: object) -> str:
    """Return a short text of a decoded value."""
    if isinstance(value, Items):
        return f"{_KINDS[value.kind]} of {len(value.items)}"
    try:
        return repr(value)[:SHOWN_CHARS]
    except ValueError:  # an integer with more digits than Python converts to text
        return f"a {type(value).__name__} too long to show"
