"""What a learner rank streams: all weights, or with LoRA the adapters alone and what they are added to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from grpo.cluster.rl_ranks import PublishingLearner, PublishSettings, Stream, StreamedWeights
from grpo.config.sections import LoraConfig
from rollout.adapter_base import BaseWeights
from rollout.errors import WeightSyncError
from rollout.publication import Head, Tail, Window, needs_canary
from rollout.receiver import Receiver
from rollout.transport.stores import MappedFile
from rollout.wire import dtype_on_wire
from tests.grpo.tiny_phase import make_policy
from tests.grpo.training.test_adapters_and_mtp import rl, rl_step

LORA = LoraConfig(rank=4, alpha=8.0, targets=("experts", "q_proj"))


def publishing(folder: Path, lora: LoraConfig | None, dtype: str) -> PublishingLearner:
    settings = PublishSettings((folder,), dtype, "shared_memory", ((3, 5, 7),))
    (folder / "policy").exists() or make_policy(folder / "policy")
    return PublishingLearner(rl(folder / "policy", lora), settings, rank=0)


def loaded(learner: PublishingLearner, version: int, base: Path) -> tuple[dict[str, Tensor], int]:
    """What an engine would load of a stream, and its bytes."""
    stream = learner.begin_stream(version, ["0/1"])
    receiver = Receiver(stream.head, stream.head.channel.connect("0/1"))
    weights = None if stream.head.base is None else BaseWeights(stream.head.base, base)
    found: dict[str, Tensor] = {}
    for index in range(len(stream.after)):
        window = learner.write_window(index)
        assert window is not None
        tensors, verdict = receiver.open(window)
        for group in [tensors] if weights is None else weights.add(tensors):
            found |= {name: tensor.clone() for name, tensor in group.items()}
        receiver.problems += verdict.result()
    receiver.finish(learner.finish_stream())
    for group in () if weights is None else weights.rest():
        found |= group
    assert found.keys() == set(stream.head.delivered)
    return found, stream.nbytes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_alone_travel_and_make_the_same_weights_as_a_whole_stream(
    tmp_path: Path, dtype: str
) -> None:
    learner, whole = publishing(tmp_path, LORA, dtype), publishing(tmp_path, None, dtype)
    sizes = []
    for version in range(3):
        found, few = loaded(learner, version, tmp_path / "policy")
        everything, all_bytes = loaded(whole, version, tmp_path / "policy")
        sizes.append(few)
        expected = dict(learner._learner.named_tensors())
        assert found.keys() == everything.keys() == expected.keys()
        for name, tensor in expected.items():
            wanted = tensor.to(dtype_on_wire(name, tensor.dtype, getattr(torch, dtype)))
            torch.testing.assert_close(
                found[name], wanted, rtol=1e-2 if dtype == "bfloat16" else 1e-6, atol=1e-6
            )
        assert few < 0.3 * all_bytes
        rl_step(learner._learner, version)
        learner._has_changed = True
    assert len(set(sizes)) == 1
    assert sizes[0] == sum(t.nbytes for _, t in learner._learner.adapter_tensors())
    for one in (learner, whole):
        one.close()


def test_an_old_version_cannot_be_sent_again(tmp_path: Path) -> None:
    learner = publishing(tmp_path, LORA, "float32")
    loaded(learner, 0, tmp_path / "policy")
    learner._has_changed = True
    with pytest.raises(WeightSyncError, match="the learner has gone on from 0"):
        learner.begin_stream(0, ["0/1"])
    learner.close()


class ScriptedRanks:
    """Records what a stream asks of the ranks, in order."""

    def __init__(self, after: tuple[int, ...]) -> None:
        self.after = after
        self.calls: list[str] = []

    def call_all(self, method: str, *_: object) -> object:
        self.calls.append(method)
        if method == "begin_stream":
            return Stream(Head(1, {}, MappedFile("")), self.after, 0, "")
        return Tail(1, len(self.after))

    def start_all(self, method: str, *arguments: object) -> Callable[[], object]:
        self.calls.append(" ".join([method, *map(str, arguments)]))
        return lambda: Window(1, int(str(arguments[0])), (), None) if arguments else None


def streamed(after: tuple[int, ...], with_canary: bool) -> list[str]:
    """What a stream asks of the ranks, with the waits for windows that engines have read."""
    ranks: Any = ScriptedRanks(after)
    weights = StreamedWeights(ranks, 1, lambda note: None)
    weights.begin(["0/1"], with_canary=with_canary)
    found = [w.index for w in weights.windows(lambda i: ranks.calls.append(f"wait {i}") if i >= 0 else None)]
    weights.finish()
    assert found == list(range(len(after)))
    return ranks.calls[1:]


def test_ranks_compute_the_canary_when_they_would_first_wait_for_the_engines() -> None:
    writes = [f"write_window {i}" for i in range(5)]
    assert streamed((-1, -1, -1, 0, 1), with_canary=True) == [
        *writes[:3], "compute_canary", "wait 0", writes[3], "wait 1", writes[4], "finish_stream",
    ]  # fmt: skip
    assert streamed((-1, -1), with_canary=True) == [*writes[:2], "compute_canary", "finish_stream"]
    assert "compute_canary" not in streamed((-1, -1, -1, 0, 1), with_canary=False)


def test_a_canary_belongs_to_one_stream(tmp_path: Path) -> None:
    learner = publishing(tmp_path, None, "float32")
    for version, wanted in ((0, True), (1, False)):
        learner.begin_stream(version, ["0/1"])
        if wanted:
            learner.compute_canary()
        assert [canary.token_ids for canary in learner.finish_stream().canary] == [(3, 5, 7)] * wanted
    learner.close()


def test_the_canary_comes_with_the_first_change_then_in_turn_and_always_for_what_nothing_else_covers() -> (
    None
):
    assert [n for n in range(17) if needs_canary(n, ())] == [0, 1, 8, 16]
    assert all(needs_canary(n, ["model.layers.1.mlp.experts.0.up_proj.weight"]) for n in range(17))
