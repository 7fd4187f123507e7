import pytest

from rewards.math.math_verify import math_verify
from rewards.rows import RewardRow


@pytest.mark.parametrize(
    ("answer", "completion", "expected"),
    [
        ("1/2", r"<think>x</think><answer>0.5</answer>", 1.0),
        ("1/2", r"<think>0.5</think><answer>0.4</answer>", 0.0),
        ("42", r"so \boxed{42}", 1.0),
        (["1/2", "x"], "<answer>x</answer>", 1.0),
        ("42", "no answer", 0.0),
        ("42", f"<answer>{'4' * 5000}</answer>", 0.0),
        (None, "<answer>1</answer>", None),
    ],
)
def test_math_verify_judges_the_answer_part(answer, completion, expected):
    assert math_verify(RewardRow(completion, answer=answer)).total == expected
