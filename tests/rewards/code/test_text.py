"""Programs out of completions, tests out of rows, outputs against outputs: no process is started."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.code.compare import same_output
from rewards.code.data import MAX_DEPTH, NotPlain, Opaque, decode, encode, plain, same
from rewards.code.program import continuation_of, program_of
from rewards.code.tests import BadTests, CallTest, CheckTest, StdioTest, read_problem
from rewards.rows import RewardRow

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.complex_numbers(allow_nan=False)
)  # fmt: skip
HASHABLE = SCALARS | st.tuples(SCALARS, SCALARS) | st.frozensets(st.integers(), max_size=3)
PLAIN = st.recursive(
    SCALARS | st.sets(HASHABLE, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_a_value_comes_back_with_its_types(value: object) -> None:
    back = plain(decode(encode(value)))
    assert back == value
    assert type(back) is type(value)
    assert encode(back) == encode(value)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        value = decode(data)
    except NotPlain:
        return
    # Opaque values and iterators are written otherwise than they were read.
    assert value is None or value is not None


def test_hostile_bytes() -> None:
    deep = b"l1:" * 10_000 + b"N"
    for data in (
        b"l99999999999:N",
        deep,
        b"i;",
        b"s5:abc",
        b"",
        b"x",
        b"NN",
        b"f1e5",
        b"s1:\xff",
        b"i1",
        b"l-1:",
    ):
        with pytest.raises(NotPlain):
            decode(data)
    nested: list[object] = []
    for _ in range(MAX_DEPTH + 2):
        nested = [nested]
    with pytest.raises(NotPlain):
        encode(nested)


class EqualToAll:
    """What a program returns that hopes for `==`."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


class TrickyInt(int):
    """An int that says it equals everything."""

    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        return True


@pytest.mark.parametrize(
    ("found", "expected", "tolerance", "is_same"),
    [
        (3, 3, 0.0, True),
        (3.0, 3, 0.0, True),
        (True, 1, 0.0, False),
        (1, True, 0.0, False),
        ("1", 1, 0.0, False),
        (EqualToAll(), 3, 0.0, False),
        (TrickyInt(7), 3, 0.0, False),
        (TrickyInt(3), 3, 0.0, True),
        ((x for x in [1, 2]), [1, 2], 0.0, False),
        (range(2), [0, 1], 0.0, False),
        ((1, 2), [1, 2], 0.0, True),
        ([1, 2], [1, 2, 3], 0.0, False),
        (0.1 + 0.2, 0.3, 1e-6, True),
        (0.1 + 0.2, 0.3, 0.0, False),
        (1_000_000.5, 1_000_000, 1e-6, False),
        (float("nan"), float("nan"), 0.0, True),
        (float("inf"), 1e308, 1e-6, False),
        (10**400, 1.5, 1e-6, False),
        ({1: "a"}, {"1": "a"}, 0.0, True),
        ({"a": [0.5]}, {"a": [0.5 + 1e-9]}, 1e-6, True),
        ({1, 2}, [1, 2], 0.0, False),
        (None, 0, 0.0, False),
        (b"a", "a", 0.0, False),
    ],
)
def test_sameness_is_judged_on_plain_data(
    found: object, expected: object, tolerance: float, is_same: bool
) -> None:
    assert same(decode(encode(found)), expected, tolerance, loose=True) is is_same


def test_an_unknown_object_equals_nothing() -> None:
    value = decode(encode(EqualToAll()))
    assert isinstance(value, Opaque)
    assert value != value
    assert repr(value) == "<EqualToAll>"


FENCED = "```python\nprint(1)\n```"


@pytest.mark.parametrize(
    ("completion", "program"),
    [
        (FENCED, "print(1)\n"),
        (f"<think>{FENCED}</think>", None),
        ("<think>x</think>\nHere:\n```py\nprint(2)\n```\nDone.", "print(2)\n"),
        ("```python\nprint(1)\n```\nbetter:\n```python\nprint(2)\n```", "print(2)\n"),
        ("```python\nprint(1)\n```\nprints\n```\n1\n```", "print(1)\n"),
        ("```python\nprint(1)\n```\nrun it\n```bash\npython x.py\n```", "print(1)\n"),
        ("```text\nprint(1)\n```", None),
        ("```\nprint(1)\n```", "print(1)\n"),
        ("~~~python\nprint(1)\n~~~", "print(1)\n"),
        ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''\n"),
        ("```python\r\nprint(1)\r\n```\r\n", "print(1)\n"),
        ("```python\nprint(1)\n", None),
        ("```python\nprint(1)\n```\n```python\nprint(2)", "print(1)\n"),
        (f"{FENCED}\n<answer>\n```python\nprint(3)\n```\n</answer>", "print(3)\n"),
        (f"<answer>print(4)</answer> {FENCED}", "print(4)"),
        ("<answer>\nprint(4)\n</answer>", "print(4)"),
        ("<answer>```python\nprint(5)\n```</answer>", "print(5)\n"),
        ("<answer>```python\nprint(5)\n</answer>", None),
        ("<answer>  </answer>", None),
        (f"<answer>\n{FENCED}", None),
        ("print(6)", None),
        ("", None),
        ("1. First:\n   ```python\n   if 1:\n       print(1)\n   ```", "if 1:\n    print(1)\n"),
        ("The code is: ```python\nprint(7)\n```", "print(7)\n"),
        ("Use ```print``` here.\n```python\nprint(8)\n```", "print(8)\n"),
        ("``` Python\nprint(9)\n```", "print(9)\n"),
        ("```{.python}\nprint(9)\n```", "print(9)\n"),
    ],
)
def test_which_part_is_the_program(completion: str, program: str | None) -> None:
    assert program_of(completion, "python") == program


def test_long_lines_take_linear_time() -> None:
    for text in ("`" * 1_000_000 + "a`", "```a" * 300_000, "x" * 3_000_000, "~`" * 500_000):
        assert program_of(f"{text}\n{FENCED}", "python") in ("print(1)\n", None)


def test_tags_of_other_languages() -> None:
    both = "```python\nprint(1)\n```\n```c++\nint main(){}\n```"
    assert program_of(both, "cpp") == "int main(){}\n"
    assert program_of(both, "python") == "print(1)\n"
    assert program_of(both, "rust") is None


def test_a_continuation_ends_at_the_next_statement_of_the_margin() -> None:
    assert continuation_of("    return 1\n\nprint(f(2))\n") == "    return 1\n\n"
    assert continuation_of("    return 1\r\n") == "    return 1\n"
    assert continuation_of("    x = 1\n    # why\n    return x") == "    x = 1\n    # why\n    return x"


@pytest.mark.parametrize(
    ("found", "expected", "tolerance", "is_same"),
    [
        ("7\n", "7", 0.0, True),
        ("7\r\n8  \n\n", "7\n8\n", 0.0, True),
        ("", "\n", 0.0, True),
        ("\n7", "7", 0.0, False),
        (" 7", "7", 0.0, False),
        ("7 8", "7  8", 0.0, False),
        ("0.3333", "0.333333", 1e-6, False),
        ("0.33333349 x", "0.333333 x", 1e-6, True),
        ("3", "3.0", 0.0, True),
        ("3.0", "3", 1e-6, False),
        ("1000001", "1000000", 1e-5, False),
        ("nan", "0.5", 1e9, False),
        ("1_0.0", "10.0", 1e-6, False),
        ("1e400", "1.5", 1e-6, False),
        ("abc", "ABC", 0.0, False),
    ],
)
def test_outputs(found: str, expected: str, tolerance: float, is_same: bool) -> None:
    assert same_output(found.encode(), expected, tolerance) is is_same


def test_output_that_is_no_text() -> None:
    assert not same_output(b"\xff\xfe", "\ufffd\ufffd")


def test_forms_of_tests() -> None:
    stdio = read_problem(RewardRow("", columns={"tests": [{"stdin": "1", "stdout": "2"}]}))
    assert stdio is not None
    assert stdio.tests == (StdioTest(b"1", "2"),)
    text = json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]})
    apps = read_problem(RewardRow("", answer=text))
    assert apps is not None
    assert apps.tests == (StdioTest(b"1\n", "2\n"),)
    named = read_problem(
        RewardRow("", columns={"input_output": {"inputs": [[1, 2]], "outputs": [[3]], "fn_name": "add"}})
    )
    assert named is not None
    assert named.entry_point == "add"
    assert named.tests == (CallTest(encode(((1, 2), {})), [3], 3),)
    calls = read_problem(
        RewardRow("", columns={"tests": [{"args": [1], "expected": None}], "entry_point": "f"})
    )
    assert calls is not None
    assert calls.tests == (CallTest(encode(((1,), {})), None),)
    mbpp = read_problem(
        RewardRow(
            "", columns={"test_list": ["assert set(sim((1, 2))) == {1}"], "test_setup_code": "import re"}
        )
    )
    assert mbpp is not None
    assert mbpp.entry_point == "sim"
    assert mbpp.tests == (CheckTest("assert set(sim((1, 2))) == {1}", "import re"),)
    stub = "def half(x):\n    '''halve'''\n"
    human = read_problem(
        RewardRow(
            "", prompt=stub, answer="def check(c):\n  assert c(4) == 2", columns={"entry_point": "half"}
        )
    )
    assert human is not None
    assert human.given == stub
    assert read_problem(RewardRow("")) is None
    assert read_problem(RewardRow("", columns={"tests": "[]"})) is None


@pytest.mark.parametrize(
    "columns",
    [
        {"tests": [1, 2]},
        {"tests": {"inputs": ["1"], "outputs": []}},
        {"tests": [{"args": [1], "expected": 2}]},
        {"tests": [{"args": "x", "expected": 2}], "entry_point": "f"},
        {"tests": [{"stdin": "x"}]},
        {"tests": [{"args": [1], "expected": 2}], "entry_point": "f", "programming_language": "rust"},
        {"tests": ["assert len([1]) == 1"]},
        {"tests": ["assert ("]},
        {"tests": 5},
    ],
)
def test_tests_that_cannot_be_read(columns: dict[str, object]) -> None:
    with pytest.raises(BadTests):
        read_problem(RewardRow("", columns=columns))


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_tolerance_is_relative_above_one(found: float, expected: float) -> None:
    near = same(found, expected, 1e-6)
    truth = found == expected or (
        math.isfinite(found) and abs(found - expected) <= 1e-6 * max(1.0, abs(expected))
    )
    assert near is truth
