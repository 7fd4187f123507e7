"""A stream from the learner's end to the engine's, without an engine, over every transport that needs no GPU."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rollout.errors import NoRoomForWeights, WeightSyncError
from rollout.publication import Head, Window
from rollout.receiver import Receiver
from rollout.transport import gloo
from rollout.transport.choice import make_store
from rollout.transport.gloo import GlooStore
from rollout.transport.sender import Sender, publish
from rollout.transport.stores import LocalMemory, SharedMemory, Store
from rollout.weight_folders import WeightFolders
from rollout.wire import DTYPES, digest

TENSORS = {
    "embed.weight": torch.randn(9, 5),
    **{
        f"model.layers.{i}.{name}": tensor
        for i in range(4)
        for name, tensor in {
            "a.weight": torch.randn(5, 3),
            "b.weight": torch.randn(7).to(torch.bfloat16),
            "c.bias": torch.arange(4) + i,
            "empty": torch.empty(0, 3),
            "scalar": torch.tensor(2.5 + i),
            "mlp.gate.e_score_correction_bias": torch.tensor([1.0 + 2**-12, -3e-4]),
            "mlp.gate.weight": torch.tensor([[1.0 + 2**-12, -3e-4]]),
            "mlp.gate_proj.weight": torch.tensor([[1.0 + 2**-12]]),
        }.items()
    },
}
WINDOW_BYTES = 600
"""Of about one layer."""


def later() -> dict[str, Tensor]:
    """Another version of the tensors."""
    return {name: tensor + 1 for name, tensor in TENSORS.items()}


@pytest.fixture(params=["local", "shared_memory", "gloo"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: dict[str, Store] = {
        "local": LocalMemory(),
        "shared_memory": SharedMemory(WeightFolders([tmp_path]), WINDOW_BYTES),
        "gloo": GlooStore(),
    }
    yield made[request.param]
    for unused in made.values():
        unused.close()


def receive(
    tensors: dict[str, Tensor],
    store: Store | None = None,
    *,
    wire_dtype: torch.dtype | None = None,
    change: object = None,
    readers: int = 1,
) -> list[dict[str, Tensor]]:
    """Stream tensors to readers; returns copies of what each has got, taken while it could read them."""
    sender = Sender(store or LocalMemory(), wire_dtype, WINDOW_BYTES)
    return stream(sender, tensors, change=change, readers=readers)


def stream(
    sender: Sender, tensors: dict[str, Tensor], *, change: object = None, readers: int = 1, version: int = 3
) -> list[dict[str, Tensor]]:
    names = [f"{index}/1" for index in range(readers)]
    head = sender.begin(version, tensors.items, names)
    ends = connect(head, names)
    found: list[dict[str, Tensor]] = [{} for _ in names]
    for index in range(len(sender)):
        window = sender.window(index)
        for changed in change(window) if callable(change) else [window]:
            for receiver, got in zip(ends, found, strict=True):
                views, verdict = receiver.open(changed)
                got.update({name: view.clone() for name, view in views.items()})
                receiver.problems += verdict.result()
    for receiver in ends:
        receiver.finish(sender.finish(()))
    return found


def connect(head: Head, names: list[str]) -> list[Receiver]:
    """Connect all readers at once, as engines do."""
    found: dict[str, Receiver] = {}

    def join(name: str) -> None:
        found[name] = Receiver(head, head.channel.connect(name))

    threads = [threading.Thread(target=join, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[name] for name in names]


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return list(found) == list(wanted) and all(
        found[n].dtype == t.dtype and torch.equal(found[n], t) for n, t in wanted.items()
    )


def test_what_is_sent_arrives_at_every_reader_again_and_again(store: Store) -> None:
    sender = Sender(store, window_bytes=WINDOW_BYTES)
    for version, tensors in enumerate((TENSORS, later(), TENSORS)):
        for found in stream(sender, tensors, readers=2, version=version):
            assert same(found, tensors)
    assert len(sender) > 3, "the ring was never used twice"


def test_shared_memory_holds_a_few_windows_and_never_the_whole(tmp_path: Path) -> None:
    tensors = {f"model.layers.{i}.w": torch.full((100,), float(i)) for i in range(20)}
    store = SharedMemory(WeightFolders([tmp_path]), 500)
    sender = Sender(store, window_bytes=500)
    (found,) = stream(sender, tensors)
    assert same(found, tensors)
    (file,) = tmp_path.rglob("windows")
    assert file.stat().st_size <= 3 * 500 < 20 * 400
    sender.close()
    assert not list(tmp_path.iterdir())


def test_a_window_written_over_before_it_was_read_is_noticed(tmp_path: Path) -> None:
    """The stale bytes of an engine that lags: the learner did not wait for it."""
    tensors = {f"model.layers.{i}.w": torch.full((100,), float(i)) for i in range(20)}
    sender = Sender(SharedMemory(WeightFolders([tmp_path]), 500), window_bytes=500)
    head = sender.begin(1, tensors.items, ["0/1"])
    (receiver,) = connect(head, ["0/1"])
    for window in [sender.window(index) for index in range(len(sender))]:
        receiver.problems += receiver.open(window)[1].result()
    with pytest.raises(WeightSyncError, match=r"model\.layers\.0\.w is corrupted"):
        receiver.finish(sender.finish(()))
    sender.close()


@pytest.mark.parametrize("transport", ["shared_memory", "object_store", "gloo"])
def test_what_the_driver_passes_on_is_small(
    transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "put", lambda value: f"a reference to {value.nbytes} bytes")
    tensors = {f"model.layers.{i}.w": torch.zeros(100_000) for i in range(4)}
    store = make_store(transport, [tmp_path])  # type: ignore[arg-type]
    sender = Sender(store, window_bytes=400_000)
    messages: list[object] = [sender.begin(1, tensors.items, [])]
    messages += [sender.window(index) for index in range(len(sender))]
    messages.append(sender.finish(()))
    assert len(messages) == 6
    assert sum(len(pickle.dumps(message)) for message in messages) < 4_000
    sender.close()


def test_wire_dtype_rounds_all_but_the_routers() -> None:
    (found,) = receive(TENSORS, wire_dtype=torch.bfloat16)
    assert torch.equal(found["embed.weight"], TENSORS["embed.weight"].to(torch.bfloat16))
    for name in ("model.layers.0.mlp.gate.e_score_correction_bias", "model.layers.0.mlp.gate.weight"):
        assert torch.equal(found[name], TENSORS[name])
    assert found["model.layers.0.mlp.gate_proj.weight"].dtype == torch.bfloat16
    assert found["model.layers.0.c.bias"].dtype == torch.int64


def test_non_contiguous_tensors_arrive_whole() -> None:
    strided = torch.arange(24.0).view(4, 6).t()[::2]
    assert torch.equal(receive({"x": strided})[0]["x"], strided)


def test_every_dtype_survives() -> None:
    tensors = {name: torch.ones(3, dtype=dtype) for name, dtype in DTYPES.items()}
    assert same(receive(tensors)[0], tensors)


def test_two_tensors_of_one_name_are_refused() -> None:
    twice = lambda: [("x", torch.ones(1)), ("x", torch.ones(1))]  # noqa: E731
    with pytest.raises(ValueError, match="'x' is published twice"):
        publish(twice, 1).begin(["0/1"])


def test_tensors_that_change_their_shape_or_order_are_refused() -> None:
    sender = Sender(LocalMemory())
    stream(sender, TENSORS)
    fewer = {name: tensor for name, tensor in TENSORS.items() if name != "model.layers.1.c.bias"}
    larger = TENSORS | {"model.layers.1.c.bias": torch.arange(5)}
    for tensors in (fewer, larger):
        with pytest.raises(WeightSyncError, match=r"model\.layers\.1\.c\.bias \[4\] was expected"):
            stream(sender, tensors)


@settings(max_examples=60, deadline=None)
@given(number=st.integers(min_value=0), flip=st.integers(min_value=0), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_tensor_is_named(number: int, flip: int, bit: int) -> None:
    names = [name for name, tensor in TENSORS.items() if tensor.numel()]
    name = names[number % len(names)]

    def spoil(window: Window) -> list[Window]:
        for entry in window.entries:
            if entry.name == name:
                assert isinstance(window.place, np.ndarray)
                window.place[entry.start + flip % entry.size] ^= 1 << bit
        return [window]

    with pytest.raises(WeightSyncError) as caught:
        receive(TENSORS, change=spoil)
    assert str(caught.value) == f"weights of version 3: {name} is corrupted (its digest differs)"


def test_a_tensor_in_the_place_of_another_is_noticed() -> None:
    first, second = "model.layers.1.mlp.gate.weight", "model.layers.2.mlp.gate.weight"
    tensors = TENSORS | {second: torch.tensor([[7.0, 8.0]])}
    entries: dict[str, object] = {}

    def exchange(window: Window) -> list[Window]:
        """Give the second the first's digest."""
        entries.update({entry.name: entry.digest for entry in window.entries})
        changed = [replace(e, digest=str(entries[first])) if e.name == second else e for e in window.entries]
        return [replace(window, entries=tuple(changed))]

    with pytest.raises(WeightSyncError, match=rf"{second} is corrupted"):
        receive(tensors, change=exchange)


def test_every_missing_tensor_of_a_dropped_window_is_named() -> None:
    with pytest.raises(WeightSyncError) as caught:
        receive(TENSORS, change=lambda window: [] if window.index == 1 else [window])
    text = str(caught.value)
    assert text.startswith("weights of version 3: window 2 came, window 1 was expected; ")
    dropped = [w for w in text.split("; ") if w.endswith("is missing")]
    assert len(dropped) >= 8
    assert "embed.weight is missing" not in text


def test_the_last_window_is_missed_too() -> None:
    last = len(list(publish(TENSORS, 1, window_bytes=WINDOW_BYTES).windows(lambda _: None))) - 1
    sender = Sender(LocalMemory(), window_bytes=WINDOW_BYTES)
    sender.begin(1, TENSORS.items, [])
    last = len(sender) - 1
    with pytest.raises(WeightSyncError, match=rf"{last} of {last + 1} windows came"):
        receive(TENSORS, change=lambda window: [] if window.index == last else [window])


def test_windows_of_another_version_and_repeated_ones_are_refused() -> None:
    with pytest.raises(WeightSyncError, match="a window of version 2 came"):
        receive(TENSORS, change=lambda window: [replace(window, version=2 if window.index == 1 else 3)])
    with pytest.raises(WeightSyncError, match="window 1 came, window 2 was expected"):
        receive(TENSORS, change=lambda window: [window] * (2 if window.index == 1 else 1))


def test_entries_cut_short_or_not_announced_are_named() -> None:
    def change(window: Window) -> list[Window]:
        changed = [
            replace(e, size=e.size - 1) if e.name == "model.layers.1.a.weight" else e for e in window.entries
        ]
        if window.index == 0:
            changed.append(replace(changed[0], name="surprise"))
        return [replace(window, entries=tuple(changed))]

    with pytest.raises(WeightSyncError) as caught:
        receive(TENSORS, change=change)
    assert "surprise was not announced" in str(caught.value)
    assert "model.layers.1.a.weight is cut short" in str(caught.value)


def test_a_ring_that_vanished_is_one_error(tmp_path: Path) -> None:
    sender = Sender(SharedMemory(WeightFolders([tmp_path])))
    head = sender.begin(1, TENSORS.items, ["0/1"])
    sender.close()
    with pytest.raises(WeightSyncError, match="cannot read"):
        head.channel.connect("0/1")


def test_no_room_for_the_ring_is_an_error_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollout.weight_folders.free_bytes", lambda folder: 100)
    sender = Sender(SharedMemory(WeightFolders([tmp_path])))
    with pytest.raises(NoRoomForWeights, match="docker run --shm-size"):
        sender.begin(1, TENSORS.items, ["0/1"])


def test_a_dead_reader_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    store = GlooStore()
    sender = Sender(store, window_bytes=WINDOW_BYTES)
    head = sender.begin(1, TENSORS.items, ["dead/1", "0/1"])  # the first never connects
    (receiver,) = connect(head, ["0/1"])
    found: dict[str, Tensor] = {}
    for index in range(len(sender)):
        views, verdict = receiver.open(sender.window(index))
        found |= {name: view.clone() for name, view in views.items()}
        receiver.problems += verdict.result()
    receiver.finish(sender.finish(()))
    assert same(found, TENSORS)
    queued = len(store._lines["dead/1"]._windows)
    assert queued <= gloo.IN_FLIGHT + 1 < len(sender), "the dead reader's windows pile up"
    assert store._lines["dead/1"].has_failed
    store.close()


@given(st.lists(st.integers(0, 255), min_size=8, max_size=8))
def test_digest_covers_dtype_and_shape_too(values: list[int]) -> None:
    raw = torch.tensor(values, dtype=torch.uint8)
    same_bytes = [raw, raw.view(torch.int32), raw.view(torch.float32), raw.view(2, 4), raw.view(4, 2)]
    assert len({digest(t) for t in same_bytes}) == len(same_bytes)
    assert digest(raw) == digest(raw.clone())
