"""What a learner rank streams: all weights, or with LoRA the adapters alone and what they are added to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from grpo.cluster.rl_ranks import PublishingLearner, PublishSettings
from grpo.config.sections import LoraConfig
from rollout.adapter_base import BaseWeights
from rollout.errors import WeightSyncError
from rollout.receiver import Receiver
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
