import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_recipes.errors import DataError
from data_recipes.prompts.prompt_stream import PromptStream
from rollout.types import Prompt


def prompts(count: int) -> list[Prompt]:
    return [Prompt(id=f"{i:04x}", text=str(i), token_ids=(i,), answer=i) for i in range(count)]


@given(st.integers(1, 30), st.integers(0, 5), st.integers(0, 2**31))
def test_every_epoch_is_a_permutation(count: int, epoch: int, seed: int) -> None:
    stream = PromptStream(prompts(count), seed)
    taken = stream.take(epoch * count, count)
    assert sorted(p.id for p in taken) == [p.id for p in prompts(count)]


@given(st.integers(1, 20), st.lists(st.integers(0, 15), max_size=8), st.integers(0, 9))
def test_reading_in_pieces_equals_reading_at_once(count: int, sizes: list[int], seed: int) -> None:
    whole = PromptStream(prompts(count), seed).take(0, sum(sizes))
    pieces, cursor = [], 0
    for size in sizes:
        # A new stream for each piece: nothing but the cursor is carried over.
        pieces += PromptStream(prompts(count), seed).take(cursor, size)
        cursor += size
    assert pieces == whole


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    stream = PromptStream(prompts(50), 1)
    assert stream.take(0, 50) != stream.take(50, 50)
    assert stream.take(0, 50) != PromptStream(prompts(50), 2).take(0, 50)
    assert stream.take(0, 50) != prompts(50)


def test_length_is_one_epoch() -> None:
    assert len(PromptStream(prompts(7), 0)) == 7


def test_no_prompts_and_equal_ids_are_refused() -> None:
    with pytest.raises(DataError, match="at least one"):
        PromptStream([], 0)
    with pytest.raises(DataError, match="different ids"):
        PromptStream([*prompts(3), *prompts(1)], 0)


def test_negative_position_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        PromptStream(prompts(3), 0).take(-1, 2)
