"""Hostile answers: refused before a parser sees them, or stopped by the budget; never evaluated as code."""

import time
import weakref

import pytest

from rewards.math.accuracy import accuracy, warm_up
from rewards.math.symbolic import Refused, check_size, same
from rewards.rows import RewardRow

HOSTILE = [
    r"10^{10^{10}}", r"9^{9^{9^9}}", "9**9**9**9", r"2^{9999999999}", "99999999!", "9!!!!!!", "((((((9!)!)!)!)!)!)",
    r"\frac{" * 500 + "1" + "}{2}" * 500, "(" * 900 + "1" + ")" * 900, "1" * 1900, "1e999999999", "x" * 1900,
    r"\sqrt[" + "9" * 50 + "]{2}", r"(x+y+z+a+b)^{500}", r"x^{x^{x^{x}}}", r"\binom{99999999}{5000}", r"(999!)^{999}",
    r"((999)^{999})^{999}", r"((9999^{9999})^{9999})^{9999}", r"\lfloor 10^{9999} \rfloor",
    r"\sum_{i=1}^{10000000000} i",
    r"\int_0^{\infty} e^{-x^2} dx", "1/0", "0/0", r"\infty-\infty", "1," * 900 + "1", "1/" * 900, "-" * 1900 + "1",
    r"\begin{pmatrix}" + "1&" * 400 + r"1\end{pmatrix}", r"\sin(" * 15 + "x" + ")" * 15, "{" * 1900,
    "\\" * 1900, "$" * 1900,
    "^" * 1900, ":" * 1900, "1 or " * 390, r"\exp(\exp(\exp(100)))", r"\exp(10^{9000})", r"x^{9999}-x^{9998}",
    "__import__('os').system('true')", "lambda: 0", "\ud800", "\x00",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _warm():
    warm_up()


@pytest.mark.parametrize("answer", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_score_zero_without_running_away(answer):
    for reference in ("42", "x^2+1", r"\sqrt{2}"):
        score = accuracy(RewardRow(f"<answer>{answer}</answer>", answer=reference))
        assert (score.total, score.verdict) == (0.0, "ok"), score


@pytest.mark.parametrize(
    "latex",
    [
        r"10^{10^{10}}",
        r"2^{99999}",
        "99999!",
        "9!!",
        r"x^{2^{x}}",
        r"\exp(\exp(\exp(2)))",
        "(" * 30 + "x" + ")" * 30,
        "x" * 500,
    ],
)
def test_guard_refuses(latex):
    with pytest.raises(Refused):
        check_size(latex)


@pytest.mark.parametrize(
    "latex", [r"e^{-x^2}", r"2^{1000}", "5!", r"\frac{1}{1+\frac{1}{x}}", r"x^{n+1}", r"10^{-6}"]
)
def test_guard_lets_ordinary_mathematics_pass(latex):
    check_size(latex)


def test_budget_ends_a_comparison_and_says_so(monkeypatch):
    def spin(*_):
        while True:
            pass

    monkeypatch.setattr("rewards.math.accuracy.is_correct", spin)
    score = accuracy(RewardRow("<answer>1</answer>", answer="2"), cpu_budget_s=0.05)
    assert (score.total, score.verdict) == (None, "timeout")


def busy(seconds=0.3):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class Finalized:
    def __del__(self):
        busy()


class SlowToRemove(dict):
    """What a dictionary of weak references keeps its values in."""

    def __delitem__(self, key):
        busy()
        super().__delitem__(key)


class SlowToDiscard(set):
    def discard(self, key):
        busy()
        super().discard(key)


def weak_dictionary():
    kept = weakref.WeakKeyDictionary()
    kept.data = SlowToRemove()
    kept[Key()] = 1  # removed at once


def weak_set():
    kept = weakref.WeakSet()
    kept.data = SlowToDiscard()
    kept.add(Key())


class Key:
    pass


@pytest.mark.parametrize("swallows", [Finalized, weak_dictionary, weak_set])
def test_time_that_runs_out_where_python_swallows_errors_is_reported_after_it(monkeypatch, swallows):
    """A warning about an unraisable error fails the test; nothing was raised in there."""

    def spin(*_):
        swallows()
        while True:
            pass

    monkeypatch.setattr("rewards.math.accuracy.is_correct", spin)
    score = accuracy(RewardRow("<answer>1</answer>", answer="2"), cpu_budget_s=0.05)
    assert (score.total, score.verdict) == (None, "timeout")


def test_equality_holds_on_both_sides_of_zero():
    assert not same(r"\sqrt{x^{2}}", "x")
    assert same(r"\sqrt{x^{2}}", r"|x|")


@pytest.mark.parametrize(
    "unit", [r"\boxed{", "<answer>", "</answer>", "<think>", "{", "}", "</think>", "<answer></answer>"]
)
def test_long_spam_is_linear(unit):
    completion = unit * (400_000 // len(unit))
    assert accuracy(RewardRow(completion, answer="42")).total == 0.0
