"""A mix of sources: exact shares, start steps, resumable from a number, and nothing new for a single source."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_recipes.errors import DataError
from data_recipes.prompts.mixed_stream import MixedStream, Source
from data_recipes.prompts.prompt_stream import PromptStream
from rollout.types import Prompt


def prompts(name: str, count: int) -> list[Prompt]:
    return [Prompt(f"{name}{i}", "", (1,), None, source=name) for i in range(count)]


@given(st.integers(1, 9), st.integers(0, 50), st.integers(0, 30), st.integers(1, 4))
def test_one_source_is_the_plain_stream(size: int, cursor: int, count: int, share: int) -> None:
    stream = MixedStream([Source(prompts("a", size), share)], seed=4)
    assert stream.draw(cursor, count, 0) == (
        PromptStream(prompts("a", size), 4).take(cursor, count),
        cursor + count,
    )


def mix(start: int = 0) -> MixedStream:
    return MixedStream([Source(prompts("a", 11), 3), Source(prompts("b", 5), 2, start)], seed=1)


def test_shares_are_exact_and_no_prompt_comes_twice_before_all_came_once() -> None:
    drawn, cursor = mix().draw(0, 55, 0)
    assert cursor == 55
    assert Counter(p.source for p in drawn) == {"a": 33, "b": 22}
    of_a = [p.id for p in drawn if p.source == "a"]
    assert all(len(set(of_a[i : i + 11])) == 11 for i in (0, 11, 22))
    # The sources take turns; they do not come in one fixed pattern.
    patterns = {"".join(p.source for p in drawn[i : i + 5]) for i in range(0, 55, 5)}
    assert len(patterns) > 2


def test_a_source_comes_from_its_start_step_on() -> None:
    stream = mix(start=10)
    early, cursor = stream.draw(0, 30, 9)
    assert {p.source for p in early} == {"a"}
    assert [p.id for p in early] == [p.id for p in stream.draw(0, 100, 10)[0] if p.source == "a"][:30]
    late, _ = stream.draw(cursor, 50, 10)
    assert Counter(p.source for p in late)["b"] in range(18, 23)


@given(st.lists(st.integers(0, 12), max_size=6), st.integers(0, 1))
def test_pieces_are_the_whole(sizes: list[int], step: int) -> None:
    whole, end = mix(start=1).draw(0, sum(sizes), step)
    pieces: list[Prompt] = []
    cursor = 0
    for size in sizes:
        some, cursor = mix(start=1).draw(cursor, size, step)
        pieces += some
    assert (pieces, cursor) == (whole, end)


def test_faults_of_a_mix() -> None:
    with pytest.raises(DataError, match="step 0"):
        MixedStream([Source(prompts("a", 1), 1, 5)], 0)
    with pytest.raises(DataError, match="1 prompts are in two"):
        MixedStream([Source(prompts("a", 1)), Source(prompts("a", 2))], 0)
