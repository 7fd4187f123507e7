"""Reward `code` on programs that are right, wrong and hostile, in the real sandbox."""

from collections.abc import Iterator
from typing import Any

import pytest

from rewards.code.judge import Judge, NoVerdict
from rewards.code.reward import Code
from rewards.config import RewardConfig
from rewards.rows import RewardRow
from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.shared import close_shared, shared_sandbox
from rewards.sandbox.types import Outcome
from rewards.scoring.scorer import Scorer
from rewards.types import Score

CHECK = """
METADATA = {"author": "me"}

def check(candidate):
    assert candidate([3, 1, 2]) == [1, 2, 3]
    assert candidate([]) == []
    numbers = [2, 1]
    assert candidate(numbers) == [1, 2] and numbers == [2, 1], "changed its argument"
    assert all(candidate([k, 0]) == [0, k] for k in range(3))
"""
STUB = 'from typing import List\n\n\ndef order(xs: List[int]) -> List[int]:\n    """Sorted copy."""\n'
ADD = [{"args": [1, 2], "expected": 3}, {"args": [5], "kwargs": {"b": 5}, "expected": 10}]
DOUBLE = [{"stdin": "2\n", "stdout": "4\n"}, {"stdin": "-1\n", "stdout": "-2\n"}]


@pytest.fixture(scope="module", autouse=True)
def sandbox() -> Iterator[None]:
    try:
        shared_sandbox()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    yield
    close_shared()


def score(program: str, **columns: object) -> Score:
    params: Any = {"test_s": 1.0, "total_s": 30.0} | columns.pop("params", {})  # type: ignore[operator]
    row = RewardRow(f"<think>hm</think>\n```python\n{program}\n```\n", columns=columns)
    return Code(**params)(row)


def checked(program: str) -> Score:
    return score(program, test=CHECK, entry_point="order", question=STUB)


def test_a_right_program_scores_one() -> None:
    assert checked("def order(xs):\n    return sorted(xs)").total == 1.0
    assert checked("    return sorted(xs)").total == 1.0  # the rest of the code that was given
    assert score("def add(a, b):\n    return a + b", tests=ADD, entry_point="add").total == 1.0
    assert score("print(int(input()) * 2)", tests=DOUBLE).total == 1.0


HOSTILE = {
    "equal to all": "class E(list):\n    def __eq__(self, o): return True\n    __ne__ = lambda s, o: False\n"
    "def order(xs): return E()",
    "equal object": "class E:\n    def __eq__(self, o): return True\ndef order(xs): return E()",
    "generator": "def order(xs):\n    yield from sorted(xs)",
    "exit": "import sys\ndef order(xs): sys.exit(0)",
    "exit at once": "import os\nos._exit(0)",
    "exit in the call": "import os\ndef order(xs): os._exit(0)",
    "marker": "print('passed')\nimport sys\nsys.stderr.write('t1:s6:passed')\ndef order(xs): return None",
    "marker to every descriptor": "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b't1:s6:passed')\n"
    "    except OSError: pass\nos._exit(0)",
    "forged frames": "import os\nfrom rewards.code.data import encode\nfor fd in range(3, 64):\n    try:\n"
    "        for n in range(9): os.write(fd, encode((n, 'value', encode(True), None)))\n"
    "    except OSError: pass\nos._exit(0)",
    "patched builtins": "import builtins\nbuiltins.all = lambda *_: True\nbuiltins.sorted = lambda x: 5\n"
    "builtins.isinstance = lambda *_: True\ndef order(xs): return 5",
    "patched driver": "import sys\nm = sys.modules['rewards.code.data']\nm.encode = lambda *a, **k: b'T'\n"
    "def order(xs): return 1",
    "stack": "import sys\ndef order(xs):\n    f = sys._getframe()\n    while f:\n        f.f_locals.clear()\n"
    "        f = f.f_back\n    return 0",
    "assertion error off": "import builtins\nbuiltins.AssertionError = KeyError\ndef order(xs): return 0",
    "loop": "def order(xs):\n    while True: pass",
    "loop in repr": "class R(Exception):\n    def __str__(self):\n        while True: pass\n    __repr__ = __str__\n"
    "def order(xs): raise R()",
    "loop in iter": "class L(list):\n    def __iter__(self):\n        while True: yield 1\ndef order(xs): return L()",
    "flood": "def order(xs):\n    while True: print('x' * 10000)",
    "huge result": "def order(xs): return 'x' * (1 << 24)",
    "deep result": "def order(xs):\n    a = []\n    for _ in range(100000): a = [a]\n    return a",
    "memory": "def order(xs): return len(b'x' * (1 << 40))",
    "recursion": "def order(xs): return order(xs)",
    "syntax": "def order(xs) return 1",
    "no function": "x = 1",
    "none": "def order(xs): pass",
    "changes its argument": "def order(xs):\n    xs.sort()\n    return xs",
    "half right": "def order(xs): return sorted(xs) if len(xs) != 0 else None",
    "reads the tests": "import glob\ndef order(xs): return open(glob.glob('/**/*check*', recursive=True)[0]).read()",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_or_wrong_program_fails_with_a_reason(name: str) -> None:
    found = checked(HOSTILE[name])
    assert (found.total, found.verdict) == (0.0, "ok"), found
    assert found.reason
    if name == "syntax":
        assert "by itself raised SyntaxError: " in found.reason


@pytest.mark.parametrize(
    "program",
    [
        "print(4)\nimport sys; sys.exit(0)",
        "print(int(input()) * 2); raise SystemExit(3)",
        "import os; os._exit(0)",
        "print(int(input()) * 2 + 1)",
        "while True: print('4')",
        "import time; time.sleep(60)",
        "raise Exception('passed')",
    ],
)
def test_wrong_programs_on_an_input(program: str) -> None:
    found = score(program, tests=DOUBLE)
    assert (found.total, found.verdict) == (0.0, "ok")
    assert found.reason.startswith("test ")


def test_fraction_counts_the_tests_that_pass() -> None:
    half = {"params": {"credit": "fraction"}}
    assert score("print(4)", tests=DOUBLE, **half).total == 0.5
    assert score("def add(a, b):\n    return 3", tests=ADD, entry_point="add", **half).total == 0.5
    dies = "import os\ndef add(a, b):\n    if a == 1: os._exit(0)\n    return a + b"
    assert score(dies, tests=ADD, entry_point="add", **half).total == 0.5
    lines = [
        "assert add(1, 1) == 2",
        "assert add(2, 2) == 5",
        "assert add(1, 2) == 3",
        "assert add(0, 1) == 1",
    ]
    add = "def add(a, b): return a + b"
    assert score(add, test_list=lines, **half).total == 0.75
    assert score(add, test_list=lines).total == 0.0
    assert score(add, test_list=[lines[0], *lines[2:]]).total == 1.0


def test_calls_that_depend_on_results_and_changed_arguments() -> None:
    check = (
        "def check(f):\n    x = f([1])\n    for _ in range(4):\n        x = f(x)\n    assert x == [1, 0, 0, 0, 0, 0]\n"
        "    y = [5]\n    f(y)\n    assert y == [5, 0], y\n    try:\n        f(None)\n    except AttributeError:\n"
        "        return\n    assert False"
    )
    right = "def grow(x):\n    x.append(0)\n    return x"
    assert score(right, tests=check, entry_point="grow").total == 1.0
    assert score("def grow(x):\n    return x + [0]", tests=check, entry_point="grow").total == 0.0


@pytest.mark.parametrize("program", ["class A: pass\ndef f(x): return A()", "def f(x):\n    yield 1"])
def test_a_result_that_cannot_be_handed_back_is_the_programs_fault(program: str) -> None:
    check = "def check(f):\n    assert f(f(1)) == 1"
    found = score(program, test=check, entry_point="f")
    assert (found.total, found.verdict) == (0.0, "ok")
    assert score("def f(x): return x", test=check, entry_point="f").total == 1.0
    assert (
        score("def f(x): return 1", test="def check(f):\n    f(1)\n    f(print)", entry_point="f").verdict
        == "error"
    )


def test_an_integer_too_long_to_show_is_a_wrong_answer() -> None:
    found = score("def add(a, b): return 10 ** 5000", tests=ADD, entry_point="add")
    assert (found.total, found.verdict) == (0.0, "ok")
    assert score("def add(a, b): return [10 ** 5000]", tests=ADD, entry_point="add").total == 0.0


def test_methods_keyword_arguments_and_floats() -> None:
    tests = [{"args": [1.0, 3.0], "expected": 0.333333}]
    program = "class Solution:\n    def share(self, a, b):\n        return a / b"
    assert score(program, tests=tests, entry_point="share").total == 1.0
    assert score(program, tests=tests, entry_point="share", params={"tolerance": 0.0}).total == 0.0


def test_no_program_is_zero_and_no_tests_abstain() -> None:
    reward = Code()
    assert reward(RewardRow("I cannot.", columns={"tests": DOUBLE})).total == 0.0
    assert reward(RewardRow("```python\nprint(1)\n```")).verdict == "abstain"
    broken = reward(RewardRow("```python\nprint(1)\n```", columns={"tests": [3]}))
    assert broken.verdict == "error"
    useless = score("def f(): pass", tests="def check(f):\n    assert True", entry_point="f")
    assert useless.verdict == "error"


def test_a_missing_language_or_a_broken_sandbox_abstains(monkeypatch: pytest.MonkeyPatch) -> None:
    row = RewardRow("```cobol\nSTOP RUN.\n```", columns={"tests": DOUBLE, "programming_language": "cobol"})
    assert Code()(row).verdict == "abstain"

    def broken(*_: object) -> Outcome:
        raise NoVerdict("sandbox_error: gone")

    monkeypatch.setattr(Judge, "_run", broken)
    for columns in ({"tests": DOUBLE}, {"tests": ADD, "entry_point": "add"}):
        assert score("def add(a, b): return a + b", **columns).verdict == "abstain"


def test_a_base_model_continues_the_code() -> None:
    row = RewardRow(
        "    return sorted(xs)\n\nprint(order([1]))\nfoo bar",
        columns={"question": STUB, "entry_point": "order", "test": CHECK},
    )
    assert Code(continues=True)(row).total == 1.0
    assert Code(continues=True)(RewardRow("x", columns={"tests": DOUBLE})).verdict == "error"


def test_a_check_that_a_stand_in_sends_round_for_ever() -> None:
    check = (
        "def check(f):\n    n = f(3)\n    while n != 0:\n        n = f(n)\n    k = f(5)\n    while k:\n        k -= 1\n"
        "    assert f(1) == 0"
    )
    assert score("def less(n):\n    return n - 1", test=check, entry_point="less").total == 1.0
    short = {"total_s": 2.0}
    assert score("def less(n):\n    return n - 2", test=check, entry_point="less", params=short).total == 0.0


def test_a_program_that_turns_the_alarm_off_meets_the_total_time() -> None:
    program = (
        "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\ndef add(a, b):\n    while True: pass"
    )
    found = score(program, tests=ADD, entry_point="add", params={"total_s": 1.5})
    assert (found.total, found.verdict) == (0.0, "ok")


def test_a_programs_language_in_the_texts_column_is_an_error_of_the_data() -> None:
    row = RewardRow("```cpp\nint main() {}\n```", columns={"tests": DOUBLE, "language": "CPP"})
    score = Code()(row)
    assert score.verdict == "error"
    assert "the column programming_language" in score.reason


def test_a_compiled_language_compiles_once() -> None:
    source = '#include <stdio.h>\nint main(){int x;if(scanf("%d",&x)!=1)return 1;printf("%d\\n",2*x);}'
    completion = f"```c\n{source}\n```"
    found = Code(language="c")(RewardRow(completion, columns={"tests": DOUBLE}))
    if found.verdict == "abstain":
        pytest.skip(found.reason)
    assert found.total == 1.0
    broken = Code(language="c")(RewardRow("```c\nint main(\n```", columns={"tests": DOUBLE}))
    assert broken.total == 0.0
    assert "compile_error" in broken.reason


def test_in_a_reward_process_a_loop_is_a_zero_and_no_time_out() -> None:
    config = RewardConfig(name="code", params={"test_s": 0.5, "total_s": 1.0}, timeout_s=0.2)
    rows = [
        RewardRow(f"```python\n{program}\n```", columns={"tests": DOUBLE})
        for program in ("print(2 * int(input()))", "while True: pass", "print(2 * int(input()))")
    ]
    with Scorer([config]) as scorer:
        assert [s.total for s in scorer.score_rows(rows)] == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("params", [{"language": "cobol"}, {"credit": "some"}])
def test_wrong_params_are_refused(params: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"cobol|some"):
        Code(**params)  # type: ignore[arg-type]
