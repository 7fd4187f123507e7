"""Public data sets' forms of tests, LeetCode's preamble, and which block of a reply is the program."""

import base64
import json
import pickle
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.code.arguments import read_calls
from rewards.code.data import encode
from rewards.code.driver import load
from rewards.code.packed import BadPacking, unpacked
from rewards.code.program import defines, program_of
from rewards.code.reward import Code
from rewards.code.tests import BadTests, CallTest, StdioTest, read_problem
from rewards.rows import RewardRow
from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.shared import close_shared, shared_sandbox

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
    ),
    max_leaves=6,
)


def problem(**columns):
    return read_problem(RewardRow("", columns=columns))


def packed(value: object) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(value)))).decode()


@given(st.lists(st.tuples(st.lists(JSON, min_size=1, max_size=3), JSON), min_size=1, max_size=3))
def test_lines_of_json_are_the_arguments_that_were_written(tests):
    inputs = ["\n".join(json.dumps(a) for a in args) for args, _ in tests]
    calls, results, are_lines = read_calls(inputs, [json.dumps(result) for _, result in tests])
    assert (calls, results, are_lines) == ([args for args, _ in tests], [result for _, result in tests], True)


def test_forms_are_chosen_for_a_whole_row():
    assert read_calls(["12\n", "ab"], ["21", "ba"]) == ([["12\n"], ["ab"]], ["21", "ba"], False)
    assert read_calls(['"ab"\n3\n'], ["ababab"]) == ([["ab", 3]], ["ababab"], True)
    assert read_calls([[{"1": 2, "-3": 4}, [5]]], [[6]]) == ([[{1: 2, -3: 4}, [5]]], [[6]], False)
    assert read_calls([[{"1": 2, "x": 4}]], [6]) == ([[{"1": 2, "x": 4}]], [6], False)
    assert read_calls(["NaN"], ["1"]) == ([["NaN"]], ["1"], False)


def test_livecodebench_columns():
    public = [{"input": '[2, 9]\n"x"', "output": "[9]", "testtype": "functional"}]
    private = [{"input": '[]\n"y"', "output": "[]", "testtype": "functional"}]
    found = problem(
        public_test_cases=json.dumps(public),
        private_test_cases=packed(private),
        metadata='{"func_name": "keepLarge"}',
    )
    assert found is not None
    assert found.entry_point == "keepLarge"
    assert found.tests == (
        CallTest(encode((([2, 9], "x"), {})), [9]), CallTest(encode((([], "y"), {})), []),
    )  # fmt: skip
    stdin = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]
    assert problem(public_test_cases=stdin, metadata="{}").tests == (StdioTest(b"1 2\n", "3\n"),)


@pytest.mark.parametrize(
    "columns",
    [
        {"tests": "eJzLSM3JyQcABiwCFF=="},  # another text's check sum
        {"tests": packed([{"stdin": "1", "stdout": "2"}])[:-12]},
        {"private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(sys.exit))).decode()},
        {"private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(["[]", "[]"]))).decode()},
        {"private_test_cases": base64.b64encode(zlib.compress(b"\xff\xfe{")).decode()},
        {"tests": {"inputs": [], "outputs": []}, "entry_point": "f"},
        {"tests": {"inputs": ["1"], "outputs": ["1", "2"]}},
        {"tests": [{"stdin": "4", "stdout": ""}, {"stdin": "5", "stdout": " \n"}]},
        {"tests": [{"input": "1", "output": "2", "testtype": "functional"}]},  # the function has no name
        {"tests": [{"input": "1", "output": "2", "testtype": "functional"}, {"stdin": "", "stdout": "1"}],
         "entry_point": "f"},
    ],
)  # fmt: skip
def test_tests_that_say_nothing_are_refused(columns):
    with pytest.raises(BadTests):
        problem(**columns)


def test_a_packed_pickle_is_read_and_never_loaded():
    value = [{"stdin": "7\n", "stdout": "é\n"}]
    assert json.loads(unpacked(packed(value)) or "") == value
    assert unpacked("def check(c): assert c(1)") is None
    with pytest.raises(BadPacking):
        unpacked(base64.b64encode(zlib.compress(pickle.dumps(pickle.Unpickler))).decode())


@given(st.text())
def test_any_text_is_packed_back(text):
    assert unpacked(base64.b64encode(zlib.compress(pickle.dumps(text))).decode()) == text


def block(code: str, tag: str = "python") -> str:
    return f"```{tag}\n{code}\n```\n"


AREA = "def area(a, b):\n    return a * b"
METHOD = "class Solution:\n    def area(self, a, b):\n        return a * b"


@pytest.mark.parametrize(
    "behind",
    [
        "print(area(2, 3))", "assert area(1, 1) == 1", "area(2, 3)  # 6", "total = area(2, 3)", "import timeit",
        "for i in range(3):\n    print(area(i, i))", "area = Solution().area\nprint(area(1, 2))",
        "def test_area():\n    assert area(2, 2) == 4", "if __name__ == '__main__':\n    print(area(1, 2))",
    ],
)  # fmt: skip
@pytest.mark.parametrize("tag", ["python", "py", ""])
def test_what_stands_behind_the_definition_is_not_the_program(behind, tag):
    for code in (AREA, METHOD, "area = lambda a, b: a * b", f"from math import prod\n{AREA}"):
        reply = f"<think>{block(behind)}</think>Here.\n{block(code)}\nUse it:\n{block(behind, tag)}"
        assert program_of(reply, "python", "area") == code + "\n"


def test_a_later_definition_wins_even_if_it_is_broken():
    worse = "def area(a, b):\n    return a * (b"
    assert program_of(block(AREA) + block(worse), "python", "area") == worse + "\n"
    assert program_of(block(worse) + block(AREA), "python", "area") == AREA + "\n"
    assert program_of(block(AREA) + block("    return a * b"), "python", "area_of") == "    return a * b\n"
    assert program_of(block(AREA) + block("print(1)"), "python") == "print(1)\n"  # the tests run the program
    assert program_of(block(AREA, "text") + block("print(1)"), "python", "area") == "print(1)\n"


def test_what_defines_a_name():
    for code in (
        AREA,
        METHOD,
        "async def area(): ...",
        "class area: ...",
        "area: int = 3",
        "try:\n    area = 1\nexcept: 0",
    ):
        assert defines(code, "area"), code
    for code in (
        "def areas(): ...",
        "x = area",
        "class Other:\n    def area(self): ...",
        "area(3)",
        "area: int",
    ):
        assert not defines(code, "area"), code


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("return list(deque([3, 1], maxlen=1))", [1]),
        ("h = [4, 2]\n        heapify(h)\n        return heappop(h)", 2),
        ("return inf > 3", True),
        ("return bisect_left([1, 3], 2)", 1),
        ("return Counter('aab')['a']", 2),
        ("return math.gcd(4, 6) + gcd(9, 6)", 5),
        ("@lru_cache(None)\n        def f(n):\n            return n\n        return f(7)", 7),
        ("return reduce(lambda a, b: a + b, accumulate([1, 2]))", 4),
        ("return pow(2, 10, 1000) + sum([1])", 25),  # builtins stay builtins
        ("return defaultdict(int)[3]", 0),
    ],
)
def test_a_solution_may_use_the_usual_names(body, value):
    head = "def run(self, xs: List[int] = [], y: Optional[Dict[str, int]] = None) -> Any:"
    source = f"class Solution:\n    {head}\n        {body}\n"
    assert load(source, "run")() == value


def test_other_programs_import_what_they_use():
    with pytest.raises(NameError):
        load("def run(xs: List[int]):\n    return xs", "run")
    with pytest.raises(NameError):
        load("class Solution:\n    def run(self):\n        return np.array([1])", "run")()
    shadow = "def gcd(a, b):\n    return -1\nclass Solution:\n    def run(self):\n        return gcd(4, 6)"
    assert load(shadow, "run")() == -1


@pytest.mark.parametrize("name", ["add", "merge", "search", "shuffle", "permutations", "count", "reduce"])
def test_a_method_counts_before_the_usual_name(name):
    """LeetCode names methods as heapq, re, operator … name functions; those must not run in their place."""
    method = f"class Solution:\n    def {name}(self, *args):\n        return 'mine'\n"
    uses_both = f"class Solution:\n    def {name}(self, *args):\n        return 'mine' if {name} is not None else ''\n"
    imports = f"from {MODULES[name]} import {name}\n{method}"
    top = f"def {name}(*args):\n    return 'mine'\nclass Solution:\n    pass\n"
    for source in (method, uses_both, imports, top):
        assert load(source, name)(1, 2) == "mine"


MODULES = {
    "add": "operator", "merge": "heapq", "search": "re", "shuffle": "random", "permutations": "itertools",
    "count": "itertools", "reduce": "functools",
}  # fmt: skip


def test_in_the_sandbox():
    try:
        shared_sandbox()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    right = "class Solution:\n    def peaks(self, xs: List[int], least: int) -> List[int]:\n" \
        "        return nlargest(2, [x for x in xs if x >= least])"  # fmt: skip
    tests = {"fn_name": "peaks", "inputs": ["[5, 1, 9, 7]\n4", "[1]\n2"], "outputs": ["[9, 7]", "[]"]}
    reward = Code(test_s=2.0, total_s=20.0)
    for program, value in (
        (right, 1.0),
        (right.replace(">=", "<"), 0.0),
        (right.replace("2, [", "[0][0], ["), 0.0),
    ):
        reply = f"{block(program)}\nFor example\n{block('print(Solution().peaks([3], 1))')}"
        assert reward(RewardRow(reply, columns={"tests": json.dumps(tests)})).total == value
    assert (
        reward(RewardRow(block(right), columns={"tests": "eJzLSM3JyQcABiwCFF==", "fn_name": "peaks"})).verdict
        == "error"
    )
    close_shared()
