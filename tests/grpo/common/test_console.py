from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.common.console import clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (-3, "0:00"),
        (0.4, "0:00"),
        (59.6, "1:00"),
        (123, "2:03"),
        (3599.7, "1:00:00"),
        (3723, "1:02:03"),
        (100 * 3600, "100:00:00"),
    ],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@given(st.floats(0, 1e7))
def test_a_clock_reads_back_to_the_nearest_second(seconds: float) -> None:
    read = 0
    for part in clock(seconds).split(":"):
        read = 60 * read + int(part)
    assert abs(read - seconds) <= 0.5
