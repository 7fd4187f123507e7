"""Reads a program's tests from a row of the data.

Column `tests` (or `test`, `test_list`, `input_output`, or the reference answer) holds JSON text or the value itself:

    [{"stdin": "3 4\\n", "stdout": "7\\n"}]                              a program run on an input (also input, output)
    [{"args": [3, 4], "kwargs": {}, "expected": 7}]                     calls of the function in column `entry_point`;
                                                                        also `or_expected`, a second right result
    {"inputs": ["3 4\\n"], "outputs": ["7\\n"]}                          the first, as APPS and TACO write it;
    {"inputs": [[3, 4]], "outputs": [7], "fn_name": "add"}              and the second; also an argument a line, as
    {"inputs": ["3\n4"], "outputs": ["7"], "fn_name": "add"}            JSON (LiveCodeBench)
    [{"input": "3\n4", "output": "7", "testtype": "functional"}]        LiveCodeBench's columns public_test_cases and
                                                                        private_test_cases, with `metadata`
    ["assert add(3, 4) == 7"]                                           MBPP: one test per line
    "def check(candidate):\\n    assert candidate(3, 4) == 7"             HumanEval

Tests that cannot be read, or that a program which does nothing would pass, are refused.

The column `setup` (or `test_setup_code`) holds code that asserts and checks need; `programming_language` holds the
language of the program, if it differs between rows. (`language` is the natural language of the text, en or zh.)
"""

from __future__ import annotations

import ast
import builtins
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.json_types import JsonMapping
from rewards.code.arguments import read_calls
from rewards.code.data import NotPlain, encode
from rewards.code.packed import BadPacking, unpacked
from rewards.rows import RewardRow
from rewards.sandbox.types import LANGUAGES

TEST_COLUMNS = ("tests", "test", "test_list", "input_output")
_CASE_COLUMNS = ("public_test_cases", "private_test_cases")
_SETUP_COLUMNS = ("setup", "test_setup_code")
_ENTRY_COLUMNS = ("entry_point", "fn_name")


class BadTests(ValueError):
    """The row's tests have none of the forms above: an error of the data, not of the program."""


@dataclass(frozen=True)
class StdioTest:
    """Runs the whole program on an input."""

    stdin: bytes
    stdout: str


@dataclass(frozen=True)
class CallTest:
    """One call of a function."""

    call: bytes
    """The arguments, as encode((args, kwargs))."""
    expected: object
    or_expected: object = None
    """A second accepted result, because APPS wraps some results in a list of one; None: no other."""


@dataclass(frozen=True)
class CheckTest:
    """Test code that calls the function and asserts."""

    code: str
    setup: str = ""


Test = StdioTest | CallTest | CheckTest


@dataclass(frozen=True)
class Problem:
    """A row's tests, with the language and the code that they need."""

    language: str
    tests: tuple[Test, ...]
    entry_point: str = ""
    given: str = ""
    """Code before the completion (HumanEval's prompt); "" if there is none."""


def read_problem(row: RewardRow, language: str = "python", given: str | None = None) -> Problem | None:
    """Return the tests of a row, or None if it has none.

    Args:
        row: a row with the columns described above.
        language: language of rows without a column `programming_language`.
        given: column with the code before the completion. None: the question, if it is Python code
            that defines the entry point.

    Raises:
        BadTests: the tests cannot be read; the message names the problem.
    """
    columns = row.columns
    found = _first(columns, TEST_COLUMNS) or _cases(columns) or row.answer
    if found in (None, "", []):
        return None
    language = _language(columns, language)
    entry_point = str(_first(columns, _ENTRY_COLUMNS) or "").removeprefix("Solution().")
    value = _unpacked(found)
    if value in ([], {}):
        return None
    if isinstance(value, Mapping):
        entry_point = entry_point or str(value.get("fn_name") or "")
    entry_point = entry_point or _function_of_metadata(columns.get("metadata"))
    code = _given(row, given, entry_point)
    setup = str(_first(columns, _SETUP_COLUMNS) or "")
    tests, entry_point = _tests(value, entry_point, setup or code)
    if language != "python" and not all(isinstance(test, StdioTest) for test in tests):
        raise BadTests(f"calls and checks are for Python; a {language} program needs stdin and stdout")
    if all(isinstance(test, StdioTest) and not test.stdout.strip() for test in tests):
        raise BadTests("no test expects any output, so that a program which does nothing would pass")
    return Problem(language, tests, entry_point, code)


def _language(columns: JsonMapping, default: str) -> str:
    """Return the language of the program, in lower case."""
    named = columns.get("programming_language")
    other = str(columns.get("language") or "").lower()
    if named in (None, "") and other in LANGUAGES:
        raise BadTests(
            f"column language = {other!r}: the language of a program stands in the column programming_language, and "
            "language is for the natural language of the text (en, zh)"
        )
    return str(named or default).lower()


def _first(columns: JsonMapping, names: Sequence[str]) -> object:
    return next((columns[name] for name in names if columns.get(name) not in (None, "", [])), None)


def _cases(columns: JsonMapping) -> list[object]:
    """Return the tests of both columns of LiveCodeBench, one list."""
    joined: list[object] = []
    for name in _CASE_COLUMNS:
        value = _unpacked(columns.get(name) or [])
        if not isinstance(value, list):
            raise BadTests(f"{name} is no list of tests")
        joined += value
    return joined


def _function_of_metadata(metadata: object) -> str:
    """Return `func_name` of LiveCodeBench's column `metadata` (JSON text or an object); "" if there is none."""
    value = _unpacked(metadata)
    return str(value.get("func_name") or "") if isinstance(value, Mapping) else ""


def _unpacked(found: object) -> object:
    """Parse JSON text, compressed or not; return any other text, which is test code, unchanged."""
    if not isinstance(found, str):
        return found
    try:
        found = unpacked(found) or found
        value = json.loads(found)
    except BadPacking as error:
        raise BadTests(str(error)) from None
    except (ValueError, RecursionError):
        return found
    return value if isinstance(value, list | dict) else found


def _given(row: RewardRow, column: str | None, entry_point: str) -> str:
    if column is not None:
        value = row.columns.get(column)
        if not isinstance(value, str):
            raise BadTests(
                f"column {column!r} holds {type(value).__name__}, expected the code that was given"
            )
        return value
    for text in (row.columns.get("question"), row.columns.get("prompt"), row.prompt):
        if isinstance(text, str) and entry_point and _defines(text, entry_point):
            return text
    return ""


def _defines(text: str, name: str) -> bool:
    try:
        tree = ast.parse(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) and node.name == name for node in tree.body)


def listed(found: object, entry_point: str = "") -> list[object]:
    """Return tests one by one: objects with stdin and stdout or with args and expected, and code; [] if there are none.

    Args:
        found: what the column holds, in any of the forms above.
        entry_point: the function that calls are of; "" if only `fn_name` beside the tests could name one.

    Raises:
        BadTests: it has none of the forms.
    """
    value = _unpacked(found)
    if value in (None, "", [], {}):
        return []
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, Mapping):
        return _pairs(value, entry_point or str(value.get("fn_name") or ""))
    if not isinstance(value, list | tuple):
        raise BadTests(f"tests are {type(value).__name__}, expected a list")
    if not all(isinstance(item, str | Mapping) for item in value):
        raise BadTests("a test must be an object or a line of code")
    functional = [isinstance(item, Mapping) and item.get("testtype") == "functional" for item in value]
    if not any(functional):
        return list(value)
    if not all(functional):
        raise BadTests("tests of two kinds: functional, and with stdin")
    if not entry_point:
        raise BadTests(
            "functional tests need the function's name: column entry_point, or func_name in metadata"
        )
    pairs = {
        "inputs": [item.get("input") for item in value],
        "outputs": [item.get("output") for item in value],
    }
    return _pairs(pairs, entry_point)


def _tests(value: object, entry_point: str, setup: str) -> tuple[tuple[Test, ...], str]:
    items = listed(value, entry_point)
    checks = [item for item in items if isinstance(item, str)]
    if checks and not entry_point:
        entry_point = _called(checks, setup)
    tests = tuple(
        _object(item) if isinstance(item, Mapping) else CheckTest(str(item), setup) for item in items
    )
    if any(isinstance(test, CallTest) for test in tests) and not entry_point:
        raise BadTests("calls need the function's name in column entry_point")
    return tests, entry_point


def _object(item: JsonMapping) -> Test:
    if "expected" in item:
        args, kwargs = item.get("args", []), item.get("kwargs", {})
        if not isinstance(args, Sequence) or isinstance(args, str) or not isinstance(kwargs, Mapping):
            raise BadTests("args must be a list and kwargs an object")
        return CallTest(_call(args, kwargs), item["expected"], item.get("or_expected"))
    given = {
        name: item.get(name, item.get(other)) for name, other in (("stdin", "input"), ("stdout", "output"))
    }
    if given["stdout"] is None:
        raise BadTests(
            f"a test has neither stdout nor expected; it has {', '.join(map(str, item)) or 'nothing'}"
        )
    return StdioTest(_text(given["stdin"]).encode(errors="surrogatepass"), _text(given["stdout"]))


def _pairs(value: JsonMapping, entry_point: str) -> list[object]:
    inputs, outputs = value.get("inputs"), value.get("outputs")
    if (
        not isinstance(inputs, list)
        or not isinstance(outputs, list)
        or len(inputs) != len(outputs)
        or not inputs
    ):
        raise BadTests("expected `inputs` and `outputs`, two lists of the same length")
    if not entry_point:
        return [{"stdin": _text(i), "stdout": _text(o)} for i, o in zip(inputs, outputs, strict=True)]
    calls, results, are_lines = read_calls(inputs, outputs)
    listed_calls: list[object] = []
    for args, out in zip(calls, results, strict=True):
        second = {"or_expected": out[0]} if isinstance(out, list) and len(out) == 1 and not are_lines else {}
        listed_calls.append({"args": args, "expected": out} | second)
    return listed_calls


def _call(args: Sequence[object], kwargs: JsonMapping) -> bytes:
    try:
        return encode((tuple(args), dict(kwargs)), strict=True)
    except NotPlain as error:
        raise BadTests(f"an argument {error}") from None


def _text(value: object) -> str:
    """Join inputs that APPS stores as lists of lines."""
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return "" if value is None else str(value)


def _called(lines: Sequence[str], setup: str) -> str:
    """Return the function under test: the first call of a name that neither Python nor the setup defines."""
    try:
        known = {*vars(builtins), *_names(ast.parse(setup))}
        calls = [
            node.func.id
            for line in lines
            for node in ast.walk(ast.parse(line))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
    except (ValueError, SyntaxError, RecursionError) as error:
        raise BadTests(f"the test code cannot be read: {error}") from None
    name = next((call for call in calls if call not in known), None)
    if name is None:
        raise BadTests("the function's name is not given; set column entry_point")
    return name


def _names(tree: ast.Module) -> set[str]:
    """Return the names that a module binds at top level by def, class or import."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(alias.asname or alias.name for alias in node.names)
    return found
