"""Programming problems with tests: APPS and TACO, LiveCodeBench, CodeContests, HumanEval, MBPP, and rows built before.

The tests stay in a form that the reward `code` reads (rewards/code/tests.py); a row whose tests it cannot read, or that
a program which does nothing would pass, is a bad row. Solutions are kept for `grpo tests build`, Python alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date

from data_recipes.builders.formats.built import Built, LeftOut
from data_recipes.builders.formats.fields import any_text, optional, parsed, text
from data_recipes.errors import DataError
from data_recipes.fields import MISSING, Row, look_up, show
from rewards.code.packed import BadPacking, unpacked
from rewards.code.tests import BadTests, read_problem
from rewards.rows import RewardRow

STDIN = "Write a Python program that reads from standard input and writes to standard output."
PYTHON3 = 3
"""CodeContests' number for Python 3 in solutions.language."""


def from_apps(where: str, row: Row) -> Built:
    """APPS and TACO: question, input_output, starter_code, solutions; problems with pictures are left out."""
    if look_up(row, "picture_num") not in (MISSING, None, "", "0", 0):
        raise LeftOut("picture")
    statement, starter = text(where, row, "question"), optional(where, row, "starter_code")
    pairs = parsed(where, row, "input_output")
    if not isinstance(pairs, Mapping) or not pairs.get("inputs"):
        raise LeftOut("no_tests")
    correct = parsed(where, row, "solutions") or []
    if not isinstance(correct, list) or not all(isinstance(program, str) for program in correct):
        raise DataError(f"{where}: solutions = {show(correct)}; expected a list of programs")
    return checked(
        where,
        Built(
            "code",
            _asked(statement, starter if pairs.get("fn_name") else None),
            tests=json.dumps(pairs, ensure_ascii=False),
            entry_point=pairs.get("fn_name"),
            programming_language="python",
            correct=tuple(correct),
        ),
    )


def from_livecodebench(where: str, row: Row) -> Built:
    """LiveCodeBench: question_content, starter_code, public_test_cases, private_test_cases, metadata, contest_date."""
    tests = [
        test for name in ("public_test_cases", "private_test_cases") for test in _cases(where, row, name)
    ]
    if not tests:
        raise LeftOut("no_tests")
    metadata = parsed(where, row, "metadata")
    function = metadata.get("func_name") if isinstance(metadata, Mapping) else None
    day = str(look_up(row, "contest_date"))[:10]
    try:
        year = date.fromisoformat(day).year
    except ValueError as error:
        raise DataError(f"{where}: contest_date = {show(day)}; expected a date, 2024-08-31") from error
    return checked(
        where,
        Built(
            "code",
            _asked(text(where, row, "question_content"), optional(where, row, "starter_code")),
            tests=json.dumps(tests, ensure_ascii=False),
            entry_point=function,
            programming_language="python",
            year=year,
        ),
    )


def from_code_contests(where: str, row: Row) -> Built:
    """CodeContests: description, public_tests, private_tests, generated_tests, solutions, incorrect_solutions."""
    if optional(where, row, "input_file") is not None:
        raise LeftOut("file_input")
    if "<image>" in text(where, row, "description"):
        raise LeftOut("picture")
    tests = []
    for name in ("public_tests", "private_tests", "generated_tests"):
        given, wanted = (look_up(row, f"{name}.{part}") for part in ("input", "output"))
        if given is MISSING and wanted is MISSING:
            continue
        if not isinstance(given, list) or not isinstance(wanted, list) or len(given) != len(wanted):
            raise DataError(f"{where}: {name}: expected input and output, two lists of the same length")
        tests += [{"stdin": i, "stdout": o} for i, o in zip(given, wanted, strict=True)]
    if not tests:
        raise LeftOut("no_tests")
    return checked(
        where,
        Built(
            "code",
            _asked(text(where, row, "description"), None),
            tests=json.dumps(tests, ensure_ascii=False),
            programming_language="python",
            correct=_python3(where, row, "solutions"),
            wrong=_python3(where, row, "incorrect_solutions"),
        ),
    )


def from_humaneval(where: str, row: Row) -> Built:
    """HumanEval: prompt, entry_point, canonical_solution, test."""
    prompt = look_up(row, "prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError(f"{where}: prompt = {show(prompt)}; expected text")
    # With its line ends and indentation: the reward runs it in front of a bare completion.
    solution = look_up(row, "canonical_solution")
    return checked(
        where,
        Built(
            "code",
            prompt,
            tests=text(where, row, "test"),
            entry_point=text(where, row, "entry_point"),
            programming_language="python",
            correct=(prompt + solution,) if isinstance(solution, str) and solution.strip() else (),
        ),
    )


def from_mbpp(where: str, row: Row) -> Built:
    """MBPP: text or prompt, code, test_list, test_setup_code or test_imports."""
    tests = look_up(row, "test_list")
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        raise DataError(f"{where}: test_list = {show(tests)}; expected a list of asserts")
    setup = optional(where, row, "test_setup_code")
    imports = look_up(row, "test_imports")
    if setup is None and isinstance(imports, list):
        setup = "\n".join(map(str, imports)) or None
    program = optional(where, row, "code")
    ask = any_text(where, row, ("text", "prompt"))
    return checked(
        where,
        Built(
            "code",
            f"{ask}\n\nYour code has to pass:\n```python\n{tests[0]}\n```",
            tests=json.dumps(tests, ensure_ascii=False),
            setup=setup,
            programming_language="python",
            correct=() if program is None else (program,),
        ),
    )


def from_built(where: str, row: Row) -> Built:
    """Rows of `grpo data build code`, also after `grpo tests build`: question, tests, entry_point, setup."""
    tests = look_up(row, "tests")
    if tests in (MISSING, None, "", []):
        raise LeftOut("no_tests")
    return checked(
        where,
        Built(
            "code",
            text(where, row, "question"),
            tests=tests if isinstance(tests, str) else json.dumps(tests, ensure_ascii=False),
            entry_point=optional(where, row, "entry_point"),
            setup=optional(where, row, "setup"),
            programming_language=optional(where, row, "programming_language"),
        ),
    )


def checked(where: str, built: Built) -> Built:
    """Return the row if the reward `code` can read its tests.

    Raises:
        DataError: it cannot.
    """
    columns = {
        "question": built.question,
        "tests": built.tests,
        "entry_point": built.entry_point,
        "setup": built.setup,
        "programming_language": built.programming_language,
    }
    try:
        problem = read_problem(RewardRow(completion="", columns=columns))
    except BadTests as error:
        raise DataError(f"{where}: the tests cannot be used: {error}") from error
    if problem is None:
        raise LeftOut("no_tests")
    return built


def _asked(statement: str, starter: str | None) -> str:
    if starter is None:
        return f"{statement}\n\n{STDIN}"
    return f"{statement}\n\nComplete this code:\n```python\n{starter}\n```"


def _cases(where: str, row: Row, name: str) -> Sequence[object]:
    """Return LiveCodeBench's tests of a column: JSON, plain or compressed."""
    value = look_up(row, name)
    if value in (MISSING, None, ""):
        return []
    try:
        packed = unpacked(value) if isinstance(value, str) else None
    except BadPacking as error:
        raise DataError(f"{where}: {name}: {error}") from error
    found = parsed(where, row if packed is None else {name: packed}, name)
    if not isinstance(found, list):
        raise DataError(f"{where}: {name} = {show(found)}; expected a list of tests")
    return found


def _python3(where: str, row: Row, name: str) -> tuple[str, ...]:
    languages, programs = (look_up(row, f"{name}.{part}") for part in ("language", "solution"))
    if languages is MISSING or programs is MISSING:
        return ()
    if not isinstance(languages, list) or not isinstance(programs, list) or len(languages) != len(programs):
        raise DataError(f"{where}: {name}: expected language and solution, two lists of the same length")
    return tuple(
        p for language, p in zip(languages, programs, strict=True) if language in (PYTHON3, "PYTHON3")
    )
