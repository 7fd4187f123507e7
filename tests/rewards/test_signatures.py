"""Every accepted way of writing a reward, and every value it may return, in this process."""

import functools
import itertools
import math
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from rewards.errors import RewardLoadError
from rewards.rows import RewardRow
from rewards.signatures import call_batch, call_row, recognise
from rewards.types import RewardBatch, Score
from rewards.values import WrongLength, as_score, as_scores

ROWS = [
    RewardRow(
        "ab",
        prompt="p",
        answer="1",
        columns={"k": 1, "data_source": "gsm", "extra_info": {"n": 1}},
        group_index=0,
    ),
    RewardRow(
        "abc",
        prompt="q",
        answer=2,
        columns={"k": 2},
        completion_ids=np.array([5, 6], dtype=np.int32),
        group_index=1,
    ),
]


def _scores(target, params=None):
    function = recognise("test", target, params or {})
    if function.is_row_wise:
        return [call_row(function, row) for row in ROWS]
    return call_batch(function, ROWS, 9.0)


def _totals(target, params=None):
    return [score.total for score in _scores(target, params)]


class CallableObject:
    def __call__(self, completions, **kwargs):
        return [len(c) for c in completions]


class Configured:
    def __init__(self, scale=1.0):
        self.scale = scale

    def __call__(self, solution_str, ground_truth):
        return self.scale * len(solution_str)

    def method(self, prompts, completions):
        return [len(c) for c in completions]


def _with_extra(completions, bonus=0, **kwargs):
    return [len(c) + bonus for c in completions]


async def _async_trl(completions, **kwargs):
    return [len(c) for c in completions]


async def _async_verl(data_source, solution_str, ground_truth, extra_info=None):
    return len(solution_str)


def _annotated(data: RewardBatch):
    return [len(c) for c in data.completions]


@pytest.mark.parametrize(
    "target",
    [
        lambda batch: [len(c) for c in batch.completions],
        lambda row: len(row.completion),
        _annotated,
        lambda completions: [len(c) for c in completions],
        lambda completions, **kwargs: [len(c) for c in completions],
        lambda prompts, completions, completion_ids, **columns: [len(c) for c in completions],
        lambda prompts, completions, completion_ids, trainer_state, log_extra, log_metric, **columns: [
            len(c) for c in completions
        ],
        lambda **kwargs: [len(c) for c in kwargs["completions"]],
        lambda *, completions, k: [len(c) for c in completions],
        lambda solution_str, ground_truth: len(solution_str),
        lambda data_source, solution_str, ground_truth, extra_info=None: len(solution_str),
        lambda data_source, solution_str, ground_truth, extra_info=None, **kwargs: {
            "score": len(solution_str),
            "x": 1,
        },
        lambda solution_str, ground_truth, method="strict", score=1.0: len(solution_str),
        CallableObject(),
        CallableObject().__call__,
        Configured,
        Configured().method,
        functools.partial(_with_extra, bonus=0),
        functools.partial(lambda scale, completions: [scale * len(c) for c in completions], 1),
        _async_trl,
        _async_verl,
        lambda completions, **_: tuple(len(c) for c in completions),
        lambda completions, **_: np.array([len(c) for c in completions]),
        lambda completions, **_: torch.tensor([len(c) for c in completions]),
        lambda completions, **_: (len(c) for c in completions),
        lambda completions, **_: [(len(c), "why") for c in completions],
        lambda batch: [Score(float(len(c))) for c in batch.completions],
        lambda row, /: len(row.completion),
        lambda *, row: len(row.completion),
        lambda *, batch: [len(c) for c in batch.completions],
        lambda completions, k, /: [len(c) for c in completions],
        lambda completions, /, *, answer, **columns: [len(c) for c in completions],
        lambda data_source, solution_str, ground_truth, extra_info=None, /: len(solution_str),
        lambda data_source, /, solution_str, ground_truth: len(solution_str),
    ],
)
def test_accepted_signatures(target):
    assert _totals(target) == [2.0, 3.0]


def test_native_batch_is_complete():
    def reward(batch):
        assert batch.prompts == ["p", "q"]
        assert batch.answers == ["1", 2]
        assert batch.columns["k"] == [1, 2]
        assert batch.columns["extra_info"] == [{"n": 1}, None]
        assert [ids.tolist() for ids in batch.completion_ids] == [[], [5, 6]]
        assert batch.group_index == [0, 1]
        assert (batch.stage, batch.step, batch.deadline_s) == ("score", 0, 9.0)
        return [1, 1]

    assert _totals(reward) == [1.0, 1.0]


def test_trl_gets_its_columns_by_name():
    def reward(prompts, completion_ids, answer, k, **rest):
        assert prompts == ["p", "q"]
        assert completion_ids == [[], [5, 6]]
        assert rest["completions"] == ["ab", "abc"]
        assert rest["trainer_state"].global_step == 0
        return [a == "1" and b == 1 for a, b in zip(answer, k, strict=True)]

    assert _totals(reward) == [1.0, 0.0]


def test_verl_gets_ground_truth_from_answer_and_the_rest_from_columns():
    seen = []

    def compute_score(data_source, solution_str, ground_truth, extra_info=None):
        seen.append((data_source, solution_str, ground_truth, extra_info))
        return 0

    _totals(compute_score)
    assert seen == [("gsm", "ab", "1", {"n": 1}), ("", "abc", 2, {})]


def test_params_are_bound():
    assert _totals(_with_extra, {"bonus": 10}) == [12.0, 13.0]
    assert _totals(Configured, {"scale": 2.0}) == [4.0, 6.0]


@pytest.mark.parametrize(
    ("target", "params", "message"),
    [
        (lambda a, b: 0, {}, "cannot tell how to call"),
        (lambda: 0, {}, "cannot tell how to call"),
        (lambda row: 0, {"tyop": 1}, "no parameter tyop"),
        (lambda solution_str, secret: 0, {}, "secret"),
        (lambda batch, other: 0, {}, "other"),
        (3, {}, "not a function"),
        (Configured, {"nope": 1}, "raised TypeError"),
    ],
)
def test_refused_before_launch(target, params, message):
    with pytest.raises(RewardLoadError, match=message):
        recognise("test", target, params)


def test_missing_column_is_named_with_those_there_are():
    scores = _scores(lambda completions, tests: [1, 1])
    assert [score.verdict for score in scores] == ["error", "error"]
    assert "tests" in scores[0].reason
    assert "extra_info" in scores[0].reason


def _raise_on_first(solution_str, ground_truth):
    if solution_str == "ab":
        raise ValueError("no\nway")
    return 1


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, MemoryError, RecursionError])
def test_raise_in_a_row_costs_that_row(error):
    def compute_score(solution_str, ground_truth):
        if solution_str == "ab":
            raise error("no\nway")
        return 1

    first, second = _scores(compute_score)
    assert (first.total, first.verdict) == (None, "error")
    assert error.__name__ in first.reason
    assert "\n" not in first.reason
    assert second.total == 1.0


def test_raise_in_a_list_costs_the_call():
    def reward(completions, **_):
        raise ValueError("bad")

    assert [score.verdict for score in _scores(reward)] == ["error", "error"]


def test_a_reason_can_always_be_printed():
    def compute_score(solution_str, ground_truth):
        raise ValueError("\ud800 " + "x" * 10**6)

    assert _scores(compute_score)[0].reason.encode().startswith(b"raised ValueError: ? xxx")


def test_exception_that_cannot_be_printed():
    class Nasty(Exception):
        def __str__(self):
            raise RuntimeError

    def compute_score(solution_str, ground_truth):
        raise Nasty

    score = _scores(compute_score)[0]
    assert re.fullmatch(r"raised Nasty \(.*test_signatures\.py:\d+\)", score.reason)
    assert re.search(r"in compute_score\n    raise Nasty\nNasty$", score.trace)
    assert "rewards/signatures.py" not in score.trace


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (True, 1.0), (False, 0.0), (3, 3.0), (0.5, 0.5), (np.float32(0.5), 0.5), (np.int64(2), 2.0),
        (np.bool_(True), 1.0),
        (np.array(2.0), 2.0), (np.array([2.0]), 2.0), (torch.tensor(2.0), 2.0), (torch.tensor([2]), 2.0),
        ((0.5, "x"), 0.5),
        ([1.0, 2.0], 1.0), ({"score": 0.5}, 0.5), ({"score": np.float64(1)}, 1.0), ({"score": (True, 1)}, 1.0),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 2), 0.5), (-0.0, 0.0),
    ],
)  # fmt: skip
def test_what_counts_as_a_number(value, number):
    score = as_score(value)
    assert score.total == number
    assert score.verdict == ("ok" if number is not None else "error")


@pytest.mark.parametrize(
    "value",
    [math.nan, Decimal("nan"), math.inf, np.nan, np.float32("inf"), "1.0", b"1", {},
     {"scores": 1}, [], (), object(), 1j,
     10**400,
     np.array([1.0, 2.0]), {"score": math.nan}, (math.nan, 1), Score(None), Score(math.nan), Score("x")],
)  # fmt: skip
def test_what_is_an_error(value):
    score = as_score(value)
    assert (score.total, score.verdict) == (None, "error")
    assert score.reason


def test_none_abstains_wherever_it_stands():
    assert as_score(None).verdict == "abstain"
    assert as_score({"score": None}).verdict == "abstain"
    assert as_score(Score(None, verdict="abstain", reason="why")).reason == "why"


def test_nan_in_a_list_costs_that_row():
    verdicts = [score.verdict for score in as_scores([1.0, math.nan, None, 0], 4)]
    assert verdicts == ["ok", "error", "abstain", "ok"]


@pytest.mark.parametrize(
    "value",
    [
        [1.0],
        [1.0, 2.0, 3.0],
        [],
        1.0,
        "ab",
        {"score": 1},
        {1.0, 2.0, 3.0, 4.0},
        None,
        np.float64(1.0),
        np.zeros((2, 1, 1)),
    ],
)
def test_wrong_length_is_told(value):
    with pytest.raises(WrongLength):
        as_scores(value, 4)


def test_a_generator_without_end_is_told():
    with pytest.raises(WrongLength, match="more than 2 scores for 2"):
        as_scores(itertools.count(), 2)


def test_wrong_length_costs_the_call():
    scores = _scores(lambda completions, **_: [1.0])
    assert [score.verdict for score in scores] == ["error", "error"]
    assert scores[0].reason == "returned 1 scores for 2 completions"


@pytest.mark.parametrize("texts", [("a 1", "b"), ("", "c"), ("", "")])
def test_trl_functions_for_conversations_get_messages(texts):
    def reward(prompts, completions, **_):
        lengths = [float(len(completion[0]["content"])) for completion in completions]
        assert prompts[0][-1] == {"role": "user", "content": "q"}
        return lengths

    function = recognise("r", reward, {})
    rows = [RewardRow(text, "q") for text in texts]
    for _ in range(2):
        scores = call_batch(function, rows, 1.0)
        assert [score.total for score in scores] == [float(len(text)) for text in texts], scores
    assert function.learnt == {"messages": True}


def test_messages_read_by_get_are_messages_too():
    function = recognise("r", lambda completions, **_: [len(c[0].get("content")) for c in completions], {})
    assert [score.total for score in call_batch(function, [RewardRow("ab")], 1.0)] == [2.0]


def test_an_index_error_of_a_function_for_strings_stays_its_own():
    scores = call_batch(recognise("r", lambda completions, **_: [float(c[0] == "x") for c in completions], {}),
                        [RewardRow("x"), RewardRow("")], 1.0)  # fmt: skip
    assert [score.verdict for score in scores] == ["error", "error"]
    assert "index out of range" in scores[0].reason
