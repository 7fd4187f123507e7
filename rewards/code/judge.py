"""Runs programs against their tests. What is expected stays here; the sandbox gets programs and inputs alone.

stdin and stdout    sandbox.run(program, stdin) ──bytes──▶ same_output
calls               sandbox.run(driver, program + arguments) ──values──▶ same
check               sandbox.run(checker, test code) ──calls──▶ driver ──values──▶ checker ──▶ verdict
                    (two sandboxes: the program is not where the check is)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rewards.code.bundle import bundle
from rewards.code.checker import MAX_CALLS
from rewards.code.compare import same_output
from rewards.code.data import Items, NotPlain, decode, decode_at, encode, same
from rewards.code.tests import CallTest, CheckTest, Problem, StdioTest, Test
from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.types import Limits, Outcome

MIB = 1024 * 1024
_INTERPRETED = ("python", "javascript", "bash")
_CHECK_S = 2.0
_ALARM_EXIT = 128 + 14
_SHOWN_CHARS = 120


class NoVerdict(Exception):
    """The sandbox failed, or lacks the language: nothing is known of the program."""


class BadCheck(Exception):
    """The test code itself cannot be used."""


@dataclass(frozen=True)
class Bounds:
    """Of one program."""

    test_s: float = 4.0
    """Wall time of one test."""
    total_s: float = 8.0
    """Wall time of all tests together, without compiling."""
    compile_s: float = 30.0
    memory_bytes: int = 512 * MIB
    tolerance: float = 1e-6
    """See `same_output` and `rewards.code.data.same`."""


@dataclass(frozen=True)
class Result:
    """Of one test."""

    passed: bool
    reason: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class Answer:
    """What one call of the program came to."""

    kind: str
    """"value", "raised", "died", or "unloadable" for a program that raised before its first call."""
    parts: tuple[Any, ...]
    """(encoded result, encoded arguments afterwards or None), (class names, message) or (reason,)."""

    def told(self) -> str:
        """For a reader of the samples."""
        if self.kind in ("raised", "unloadable"):
            return f"raised {self.parts[0][0]}: {self.parts[1]}"[:_SHOWN_CHARS]
        return str(self.parts[0])[:_SHOWN_CHARS]


class Judge:
    """Judges programs in one sandbox; any thread may call it."""

    def __init__(self, sandbox: Sandbox, bounds: Bounds | None = None) -> None:
        self._sandbox, self._bounds = sandbox, bounds or Bounds()

    def results(self, problem: Problem, program: str, stop: bool = False) -> list[Result]:
        """One result a test, in order.

        Args:
            problem: its tests.
            program: source text.
            stop: leave out what follows the first test that fails.

        Raises:
            NoVerdict: the sandbox failed or lacks the language.
            BadCheck: the test code cannot be used.
        """
        end = time.monotonic() + self._bounds.total_s
        found: list[Result] = []
        for tests in _runs(problem.tests):
            if isinstance(tests[0], StdioTest):
                found += self._stdio(problem.language, program, tests, end, stop)  # type: ignore[arg-type]
            elif isinstance(tests[0], CallTest):
                found += self._calls(problem.entry_point, program, tests, end, stop)  # type: ignore[arg-type]
            else:
                found += self._checks(problem.entry_point, program, tests, end, stop)  # type: ignore[arg-type]
            if stop and not found[-1].passed:
                break
        return found

    def outputs(self, problem: Problem, program: str) -> list[str | bytes | None]:
        """What a program gives on the inputs of the tests, whatever they expect: its stdout, or the encoded result of
        a call; None where it fails, and for checks.

        Raises:
            NoVerdict: as `results`.
        """
        end = time.monotonic() + self._bounds.total_s
        found: list[str | bytes | None] = []
        for tests in _runs(problem.tests):
            if isinstance(tests[0], StdioTest):
                inputs = [test.stdin for test in tests if isinstance(test, StdioTest)]
                outcomes = self._sandbox.run_many(problem.language, program, inputs, self._limits())
                found += [None if _trouble(o) else o.stdout.decode(errors="replace") for o in outcomes]
            elif isinstance(tests[0], CallTest):
                calls = [test.call for test in tests if isinstance(test, CallTest)]
                answers = self._answers(program, problem.entry_point, calls, end, False, True)
                found += [a.parts[0] if a.kind == "value" else None for a in answers]
            else:
                found += [None] * len(tests)
        return found

    def _stdio(
        self, language: str, program: str, tests: Sequence[StdioTest], end: float, stop: bool
    ) -> list[Result]:
        inputs = [test.stdin for test in tests]
        if language not in _INTERPRETED:
            outcomes = self._sandbox.run_many(language, program, inputs, self._limits(), self._bounds.total_s)
            results = [self._judged(o, t) for o, t in zip(outcomes, tests, strict=True)]
            return _up_to_failure(results) if stop else results
        results = []
        for test in tests:
            results.append(self._judged(self._run(language, program, test.stdin, end), test))
            if stop and not results[-1].passed:
                break
        return results

    def _judged(self, outcome: Outcome, test: StdioTest) -> Result:
        if (reason := _trouble(outcome)) is not None:
            return Result(False, reason)
        if same_output(outcome.stdout, test.stdout, self._bounds.tolerance):
            return Result(True)
        shown = outcome.stdout[:_SHOWN_CHARS].decode(errors="replace")
        return Result(False, f"printed {shown!r}, expected {test.stdout[:_SHOWN_CHARS]!r}")

    def _calls(
        self, entry_point: str, program: str, tests: Sequence[CallTest], end: float, stop: bool
    ) -> list[Result]:
        answers = self._answers(program, entry_point, [t.call for t in tests], end, False, not stop)
        results = [self._returned(a, t) for a, t in zip(answers, tests, strict=False)]
        return _up_to_failure(results) if stop else results

    def _returned(self, answer: Answer, test: CallTest) -> Result:
        if answer.kind != "value":
            return Result(False, answer.told())
        try:
            value = decode(answer.parts[0])
        except NotPlain as error:
            return Result(False, f"returned what is no value: {error}")
        wanted = [test.expected] if test.or_expected is None else [test.expected, test.or_expected]
        if any(same(value, w, self._bounds.tolerance, loose=True) for w in wanted):
            return Result(True)
        return Result(False, f"returned {_shown(value)}, expected {test.expected!r}"[: 2 * _SHOWN_CHARS])

    def _checks(
        self, entry_point: str, program: str, tests: Sequence[CheckTest], end: float, stop: bool
    ) -> list[Result]:
        if stop and len(tests) > 1 and all("def check" not in test.code for test in tests):
            joined = CheckTest("\n".join(test.code for test in tests), tests[0].setup)
            result = self._check(entry_point, program, joined, end)
            return [result] * len(tests) if result.passed else [result]
        results: list[Result] = []
        for test in tests:
            results.append(self._check(entry_point, program, test, end))
            if stop and not results[-1].passed:
                break
        return results

    def _check(self, entry_point: str, program: str, test: CheckTest, end: float) -> Result:
        calls = self._first_calls(test.setup, test.code, entry_point)
        while True:  # a round for each result that the next call depends on; `end` is the bound
            answers = self._answers(program, entry_point, calls, end, True, False)
            known = [(call, answer.kind, *answer.parts) for call, answer in zip(calls, answers, strict=False)]
            request = _request(test, entry_point, known)
            outcome = self._run("python", bundle("checker"), request, end, self._check_s)
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

    def _first_calls(self, setup: str, code: str, entry_point: str) -> list[bytes]:
        """The calls that a check makes as far as can be seen without any program; kept, for it serves a whole group.

        Raises:
            BadCheck: it makes none.
        """
        found = _guessed.get((setup, code, entry_point))
        if found is None:
            request, limits = _request(CheckTest(code, setup), entry_point, []), self._limits(self._check_s)
            outcome = self._sandbox.run("python", bundle("checker"), request, limits)
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
        end: float,
        report_arguments: bool,
        go_on: bool,
    ) -> list[Answer]:
        """What the calls come to: all of them, or with `go_on` False those up to the first that the program dies in.

        A call that the program does not survive is followed by a fresh start with the next one.
        """
        answers: list[Answer] = []
        while len(answers) < len(calls):
            left = list(calls[len(answers) :])
            request = encode((program, entry_point, left, self._bounds.test_s, report_arguments))
            # All calls of a start share a process: its time is theirs together, each has its own alarm.
            wall_s = len(left) * self._bounds.test_s
            outcome = self._run("python", bundle("driver"), request, end, wall_s)
            new = _frames(outcome.stdout, len(left))
            trouble = _trouble(outcome)
            if new and new[0].kind == "unloadable":
                return answers + [Answer("died", (f"the program by itself {new[0].told()}",))] * len(left)
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
        """Wall time of one pass of a check; the program is not in it."""
        return max(self._bounds.test_s, _CHECK_S)

    def _run(
        self, language: str, source: str | bytes, stdin: bytes, end: float, wall_s: float | None = None
    ) -> Outcome:
        left = end - time.monotonic()
        if left <= 0:
            reason = f"no time left of {self._bounds.total_s:g} s for all tests"
            return Outcome("time_limit", reason, None, b"", b"", 0.0, 0.0, 0, "")
        wall_s = self._bounds.test_s if wall_s is None else wall_s
        return self._sandbox.run(language, source, stdin, self._limits(min(left, wall_s)))

    def _limits(self, wall_s: float | None = None) -> Limits:
        bounds = self._bounds
        limits = Limits(compile_wall_s=bounds.compile_s, memory_bytes=bounds.memory_bytes)
        return replace(limits, wall_s=bounds.test_s if wall_s is None else wall_s)


class _Kept:
    """A bounded memory of calls by check."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: dict[Any, list[bytes]] = {}

    def get(self, key: Any) -> list[bytes] | None:
        return self._kept.get(key)

    def put(self, key: Any, calls: list[bytes]) -> list[bytes]:
        if len(self._kept) >= self._size:
            self._kept.clear()
        self._kept[key] = calls
        return calls


_guessed = _Kept(1024)


def _runs(tests: Sequence[Test]) -> list[list[Test]]:
    """Neighbours of one kind together."""
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
    """Why a run is no good, None if it ended well.

    Raises:
        NoVerdict: it was not the program's doing.
    """
    if outcome.verdict in ("sandbox_error", "unsupported_language"):
        raise NoVerdict(f"{outcome.verdict}: {outcome.reason}")
    if outcome.verdict == "ok":
        return None
    last = outcome.stderr[-4 * _SHOWN_CHARS :].decode(errors="replace").strip().rpartition("\n")[2]
    said = (
        f" ({last[:_SHOWN_CHARS]})" if last and outcome.verdict in ("runtime_error", "compile_error") else ""
    )
    return f"{outcome.verdict}: {outcome.reason}{said}"


def _frames(data: bytes, count: int) -> list[Answer]:
    """The driver's frames, as far as they are in order; what a program forged among them counts as its results."""
    answers: list[Answer] = []
    at = 0
    while at < len(data) and len(answers) < count:
        try:
            frame, at = decode_at(data, at)
            answer = _answer(frame, len(answers))
        except NotPlain:
            break
        if answer is None or (answers and answer.kind == "unloadable"):
            break
        answers.append(answer)
        if answer.kind == "unloadable":
            break
    return answers


def _answer(frame: Any, number: int) -> Answer | None:
    match frame:
        case (int() as at, "value", bytes() as result, (bytes() | None) as after) if at == number:
            return Answer("value", (result, after))
        case (int() as at, "raised", list() as names, str() as message) if at in (number, -1):
            clean = [name for name in names if isinstance(name, str)] or ["Exception"]
            return Answer("raised" if at == number else "unloadable", (clean, message))
    return None


def _request(test: CheckTest, entry_point: str, known: Sequence[tuple[Any, ...]]) -> bytes:
    return encode((test.setup, test.code, entry_point, list(known)))


def _reply(outcome: Outcome) -> tuple[Any, ...]:
    """What the checker says; it shares its process with no program."""
    try:
        reply = decode(outcome.stdout)
    except NotPlain as error:
        raise BadCheck(f"the check wrote over its own verdict: {error}") from None
    if not isinstance(reply, tuple) or not reply:
        raise BadCheck("the check wrote over its own verdict")
    return reply


_KINDS = {"d": "dict", "e": "set", "z": "frozenset", "g": "iterator"}


def _shown(value: Any) -> str:
    """Short text of a decoded value."""
    if isinstance(value, Items):
        return f"{_KINDS[value.kind]} of {len(value.items)}"
    try:
        return repr(value)[:_SHOWN_CHARS]
    except ValueError:  # an integer of more digits than Python writes
        return f"a {type(value).__name__} too long to show"
