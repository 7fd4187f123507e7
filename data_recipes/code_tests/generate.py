"""Makes candidate tests of code problems: runs programs that write inputs, in the sandbox.

    problem ─▶ generators (the row's own, or a language model's) ─▶ sandbox, several seeds each ─▶ inputs, each once

The candidates have no expected results and may be invalid: `grpo tests build` fills and filters them in R1's two phases
(2501.12948 v2, B.3.1), first by correct programs, then by wrong ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from data_recipes.code_tests.columns import candidates, programs
from policies.json_types import JsonDict, JsonMapping
from rewards.code.judge import NoVerdict
from rewards.sandbox.types import Job, JobRunner, Limits, Outcome

GENERATORS = "generators"
"""Column with the programs of a row."""
_SEEDED = "import random as _random\n_random.seed({seed})\ndel _random\n"
_FUTURE = "from __future__"
Writers = Callable[[Sequence[JsonMapping]], list[list[str]]]
"""Rows → the generators of each that a model writes."""


@dataclass(frozen=True)
class Effort:
    """How many inputs are made, and under which limits."""

    seeds: int = 4
    """Runs of a generator, each with another seed of the module random."""
    run_s: float = 10.0
    """Wall time of a run."""
    input_bytes: int = 4 << 20
    """Longest input."""


@dataclass
class GenerateCounts:
    """Counts of a file's problems, generators and inputs, by outcome."""

    problems: int = 0
    generators: int = 0
    runs: int = 0
    added: int = 0
    repeated: int = 0
    """Inputs that the problem had already."""
    failed: int = 0
    """Runs that ended in an error, over a limit or without output."""
    malformed: int = 0
    """Inputs of a function's problem that are no JSON list of arguments."""
    first_failure: str = ""
    """Where and why the first run failed."""
    without: list[str] = field(default_factory=list)
    """Locations of problems without a test, which are left out."""


def generate_tests(
    rows: Iterator[tuple[str, JsonMapping]],
    runner: JobRunner,
    counts: GenerateCounts,
    effort: Effort,
    writers: Writers | None = None,
    threads: int = 2,
) -> Iterator[JsonDict]:
    """Yield rows with the generated inputs behind their own tests, in order, and add the outcomes to `counts`.

    Args:
        rows: (location, row) pairs.
        runner: the sandbox.
        counts: the counts to add to.
        effort: seeds and limits.
        writers: asks a language model for more generators; None: the rows' own alone.
        threads: problems that run at the same time.

    Raises:
        DataError: a row cannot be used; the message begins with its location.
        NoVerdict: the sandbox failed.
    """
    with ThreadPoolExecutor(threads) as pool:
        while chunk := list(islice(rows, 8 * threads)):
            found = [programs(where, row, GENERATORS) for where, row in chunk]
            if writers is not None:
                written = writers([row for _, row in chunk])
                found = [[*own, *more] for own, more in zip(found, written, strict=True)]
            work = [(where, row, some) for (where, row), some in zip(chunk, found, strict=True)]
            for (where, row, some), outcomes in zip(
                work,
                pool.map(lambda item: [_runs(runner, program, effort) for program in item[2]], work),
                strict=True,
            ):
                counts.problems += 1
                counts.generators += len(some)
                tests = _with_inputs(where, row, outcomes, counts)
                if tests:
                    yield {name: value for name, value in row.items() if name != GENERATORS} | {
                        "tests": tests
                    }
                else:
                    counts.without.append(where)


def _runs(runner: JobRunner, program: str, effort: Effort) -> list[Outcome]:
    limits = Limits(wall_s=effort.run_s, output_bytes=effort.input_bytes)
    found = []
    for seed in range(effort.seeds):
        # Nothing may stand before an import from __future__; such a program runs without a seed.
        source = program if _FUTURE in program else _SEEDED.format(seed=seed) + program
        (outcome,) = runner.run_job(Job("python", source.encode("utf-8", "replace"), limits=limits))
        if outcome.verdict in ("sandbox_error", "unsupported_language"):
            raise NoVerdict(f"the sandbox failed: {outcome.reason}")
        found.append(outcome)
    return found


def _with_inputs(
    where: str, row: JsonMapping, outcomes: Sequence[Sequence[Outcome]], counts: GenerateCounts
) -> list[object]:
    """Return the row's tests and the new ones; adds to `counts`."""
    tests = candidates(where, row)
    calls = bool(row.get("entry_point"))
    known = {_key(test) for test in tests}
    for number, outcome in ((n, o) for n, some in enumerate(outcomes, 1) for o in some):
        counts.runs += 1
        if outcome.verdict != "ok" or not outcome.stdout.strip():
            counts.failed += 1
            why = outcome.reason or "it printed nothing"
            last = outcome.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
            counts.first_failure = (
                counts.first_failure or f"{where}, generator {number}: {why} {last}".strip()
            )
            continue
        test = _as_call(outcome.stdout) if calls else _as_stdin(outcome.stdout)
        if test is None:
            counts.malformed += 1
        elif _key(test) in known:
            counts.repeated += 1
        else:
            known.add(_key(test))
            tests.append(test)
            counts.added += 1
    return tests


def _as_stdin(output: bytes) -> JsonDict | None:
    try:
        return {"stdin": output.decode("utf-8")}
    except UnicodeDecodeError:
        return None


def _as_call(output: bytes) -> JsonDict | None:
    try:
        args = json.loads(output)
    except (ValueError, RecursionError):
        return None
    return {"args": args} if isinstance(args, list) else None


def _key(test: object) -> str:
    """Return what makes two tests the same: their input."""
    if isinstance(test, dict):
        if "args" in test or "kwargs" in test:
            return json.dumps([test.get("args", []), test.get("kwargs", {})], sort_keys=True, default=str)
        text = test.get("stdin", test.get("input"))
        if isinstance(text, str):
            return text.rstrip()
    return json.dumps(test, sort_keys=True, default=str)
