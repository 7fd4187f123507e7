"""Windows hold whole layers, and a ring never puts one over another that may still be read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rollout.layer_names import layer_of
from rollout.transport.layout import plan_ring, plan_windows, ring_bytes

MODELS = st.lists(st.lists(st.integers(0, 200), min_size=1, max_size=5), min_size=1, max_size=12)
"""Bytes of the tensors of each layer."""


def named(layers: list[list[int]]) -> dict[str, int]:
    sizes = {"model.embed_tokens.weight": 300}
    sizes |= {
        f"model.layers.{i}.t{j}": size for i, layer in enumerate(layers) for j, size in enumerate(layer)
    }
    return sizes | {"model.norm.weight": 8}


def test_a_layer_is_a_name_up_to_its_first_number() -> None:
    assert layer_of("model.layers.3.mlp.experts.7.up_proj.weight") == "model.layers.3"
    assert layer_of("model.norm.weight") == ""


@given(MODELS, st.integers(1, 900))
def test_every_tensor_is_in_one_window_in_order_and_no_layer_is_cut(
    layers: list[list[int]], window_bytes: int
) -> None:
    sizes = named(layers)
    windows = plan_windows(sizes, window_bytes, 64)
    assert [name for window in windows for name in window.names] == list(sizes)
    home = {name: index for index, window in enumerate(windows) for name in window.names}
    for i, layer in enumerate(layers):
        assert len({home[f"model.layers.{i}.t{j}"] for j in range(len(layer))}) == 1
    for window in windows:
        ends = [start + sizes[name] for name, start in zip(window.names, window.starts, strict=True)]
        assert all(start % 64 == 0 for start in window.starts)
        assert all(end <= start for end, start in zip(ends, window.starts[1:], strict=False))
        assert ends[-1] <= window.size
        units = {layer_of(name) or name for name in window.names}
        assert window.size <= window_bytes or len(units) == 1


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(0, 120))
def test_a_window_overlaps_none_that_may_still_be_read(sizes: list[int], spare: int) -> None:
    capacity = max(sizes) + spare
    places = plan_ring(sizes, capacity)
    for index, (place, size) in enumerate(zip(places, sizes, strict=True)):
        assert 0 <= place.offset <= place.offset + size <= capacity
        assert place.after < index
        for other in range(place.after + 1, index):
            start, end = places[other].offset, places[other].offset + sizes[other]
            assert end <= place.offset or place.offset + size <= start


@given(MODELS, st.integers(64, 900))
def test_a_ring_has_room_for_two_windows_beside_the_largest(
    layers: list[list[int]], window_bytes: int
) -> None:
    windows = plan_windows(named(layers), window_bytes, 64)
    size = ring_bytes(windows, window_bytes)
    assert size <= max(window.size for window in windows) + 2 * window_bytes
    assert len(plan_ring([window.size for window in windows], size)) == len(windows)
