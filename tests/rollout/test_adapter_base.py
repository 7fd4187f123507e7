"""An engine's sums of base and adapters are the learner's merged weights; a base that differs is found and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from policies.export import save_policy
from policies.hf_names import named_tensors
from policies.load import load_policy
from policies.lora import adapter_tensors, store_frozen
from policies.mtp import is_mtp_tensor
from rollout.adapter_base import AdapterBase, BaseWeights
from rollout.errors import WeightSyncError
from rollout.layer_names import layer_of
from rollout.wire import dtype_on_wire
from tests.policies.tiny import tiny_policy
from tests.rollout.adapters import base_of, with_adapters

CASES = [
    ("tiny-v3", ("experts", "q_proj", "down_proj")),
    ("tiny-v3-mtp", ("experts",)),
    ("tiny-v2", ()),
    ("tiny-llama-tied", ("up_proj",)),
    ("tiny-qwen2", ()),
    ("tiny-qwen3", ("k_proj", "v_proj")),
]


def adapted(folder: Path, preset: str, targets: tuple[str, ...]) -> Any:
    return with_adapters(save_policy(tiny_policy(preset), folder, None), targets)


def added(base: AdapterBase, folder: Path, adapters: dict[str, Tensor]) -> dict[str, Tensor]:
    weights, found = BaseWeights(base, folder), {}
    for group in [*weights.add(adapters), *weights.rest()]:
        assert len({layer_of(name) or name for name in group}) == 1
        assert not group.keys() & found.keys()
        found |= group
    return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("preset", "targets"), CASES)
def test_the_sums_are_the_learners_merged_weights(
    tmp_path: Path, preset: str, targets: tuple[str, ...], dtype: str
) -> None:
    model = adapted(tmp_path, preset, targets)
    if dtype == "bfloat16":
        store_frozen(model, torch.bfloat16)
    base, adapters = base_of(model, dtype), dict(adapter_tensors(model))
    found = added(base, tmp_path, adapters)
    main = model.config.num_hidden_layers
    expected = {n: t.detach() for n, t in named_tensors(model) if not is_mtp_tensor(n, main)}
    assert found.keys() == expected.keys()
    moved = 0
    for name, tensor in load_named(tmp_path).items():
        if is_mtp_tensor(name, main):
            continue
        wanted = expected[name].to(dtype_on_wire(name, torch.float32, getattr(torch, dtype)))
        tolerance = 1e-6 if dtype == "float32" else 2e-3
        torch.testing.assert_close(found[name], wanted, rtol=tolerance, atol=1e-6, msg=name)
        moved += not torch.equal(found[name].float(), tensor)
    assert moved >= len(adapters) / 2
    sent = sum(t.nbytes for t in adapters.values())
    assert sent < 0.6 * sum(t.nbytes for t in expected.values())


def load_named(folder: Path) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in named_tensors(load_policy(folder))}


def test_a_base_with_one_other_bit_is_named(tmp_path: Path) -> None:
    model = adapted(tmp_path / "base", "tiny-v3", ("q_proj",))
    base, adapters = base_of(model), dict(adapter_tensors(model))
    for name in ("model.layers.1.self_attn.o_proj.weight", "model.norm.weight"):
        other: Any = load_policy(tmp_path / "base")
        with torch.no_grad():
            other.get_parameter(name).view(-1)[0].view(torch.int32).bitwise_xor_(1)
        folder = save_policy(other, tmp_path / name, None)
        with pytest.raises(WeightSyncError, match=f"has another {name} than the learner's"):
            added(base, folder, adapters)


def test_a_base_that_is_gone_or_torn_is_an_error_of_the_sync(tmp_path: Path) -> None:
    model = adapted(tmp_path / "base", "tiny-v3", ("q_proj",))
    base, adapters = base_of(model), dict(adapter_tensors(model))
    with pytest.raises(WeightSyncError, match="cannot be read"):
        BaseWeights(base, tmp_path / "nowhere")
    weights = BaseWeights(base, tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(WeightSyncError, match="cannot be read"):
        list(weights.add(adapters))


def test_an_adapter_of_a_matrix_that_the_base_lacks_is_refused(tmp_path: Path) -> None:
    model = adapted(tmp_path, "tiny-llama-tied", ("q_proj",))
    adapters = dict(adapter_tensors(model)) | {
        "model.layers.1.self_attn.x_proj.lora_A.weight": torch.ones(4, 4)
    }
    with pytest.raises(WeightSyncError, match=r"no matrix for the adapter .*x_proj"):
        added(base_of(model), tmp_path, dict(sorted(adapters.items())))
