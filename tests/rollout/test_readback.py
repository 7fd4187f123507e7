"""What the read-back finds in parameters and in packed matrices, with loaders of our own; no engine starts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rollout.vllm_readback import COLUMNS, LoaderCall, ReadBack, chosen_columns

ROWS, WIDTH = 6, 20
"""Of each of two tensors that are fused into one parameter, above two rows of padding."""


def rows_from(parameter: Tensor, weight: Tensor, start: int) -> None:
    """A weight loader as vLLM's: writes a tensor into some rows of a fused parameter."""
    parameter.data[start : start + len(weight)].copy_(weight)


def fused(seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> tuple[Tensor, list[LoaderCall]]:
    """What an engine holds, and the calls that loaded it."""
    generator = torch.Generator().manual_seed(seed)
    weights = {n: torch.randn(ROWS, WIDTH, generator=generator).to(dtype) for n in ("q", "k")}
    weights["q"][0, 0] = -0.0
    padding = torch.full((2, WIDTH), 3.0, dtype=dtype)
    live = torch.cat([*weights.values(), padding])
    parameter = nn.Parameter(torch.empty(live.shape, dtype=dtype, device="meta"), requires_grad=False)
    calls = [
        LoaderCall(name, weight, nn.Module(), "weight", parameter, rows_from, (number * ROWS,), {})
        for number, (name, weight) in enumerate(weights.items())
    ]
    return live, calls


def compared(live: Tensor, calls: list[LoaderCall], turn: int | None) -> list[str]:
    """The problems that are found: in the parameter, or of a packed one with a turn."""
    read_back = ReadBack((), turn or 0)
    if turn is None:
        read_back._compare(live, calls)
    else:
        read_back._compare_columns(lambda x: x.float() @ live.float().T, calls)
    return read_back.problems


@pytest.mark.parametrize("turn", [None, 0, 1, 5])
@pytest.mark.parametrize("chosen", [slice(0, 2), slice(0, 1), slice(1, 2)])
def test_what_was_loaded_is_found_among_padding_and_tensors_that_were_not_chosen(
    turn: int | None, chosen: slice
) -> None:
    live, calls = fused()
    assert compared(live, calls[chosen], turn) == []


@given(row=st.integers(0, 2 * ROWS - 1), column=st.integers(0, WIDTH - 1), seed=st.integers(0, 3))
def test_one_stale_element_is_found_and_its_tensor_named(row: int, column: int, seed: int) -> None:
    live, calls = fused(seed)
    live[row, column] += 1
    line = (
        f"{calls[row // ROWS].name}: 1 of {ROWS * WIDTH} elements in the engine are not those that were sent"
    )
    assert compared(live, calls, None) == [line]
    for turn in range(8):
        seen = column in chosen_columns(WIDTH, turn)
        assert compared(live, calls, turn) == ([line] if seen else [])


@given(width=st.integers(1, 300), start=st.integers(0, 10**6))
def test_turn_after_turn_every_column_is_compared(width: int, start: int) -> None:
    turns = range(start, start + -(-width // COLUMNS) + COLUMNS)
    seen = {c for turn in turns for c in chosen_columns(width, turn).tolist()}
    assert seen == set(range(width))
    assert all(len(set(chosen_columns(width, turn).tolist())) == min(COLUMNS, width) for turn in turns)


def test_a_loader_that_computes_is_compared_by_its_result() -> None:
    live, calls = fused()

    def negating(parameter: Tensor, weight: Tensor, start: int) -> None:
        rows_from(parameter, -weight, start)

    calls = [replace(call, loader=negating) for call in calls]
    live[: 2 * ROWS].neg_()
    assert compared(live, calls, None) == compared(live, calls, 0) == []
    live[0, 0] += 1
    assert {line.split(":")[0] for line in compared(live, calls, None)} == {"q", "k"}
