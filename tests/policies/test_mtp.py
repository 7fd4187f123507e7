"""Multi-token prediction: the paper's formulas in float64, isolation, and the checkpoint's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from policies.errors import BrokenCheckpoint
from policies.export import save_policy
from policies.facts import read_facts
from policies.hf_names import load_named_tensors, named_tensors
from policies.load import load_policy
from policies.logprobs import hidden_states, sequence_logprobs
from policies.mtp import is_mtp_tensor, mtp_layers, mtp_logprobs
from policies.packing import pack_documents
from tests.oracles.mtp_oracle import mtp_logprobs_of_sequence
from tests.policies.tiny import tiny_policy

DOCUMENTS = [[5, 9, 3, 7, 7, 2, 11], [4, 8], [6], [13, 1, 12, 40, 22], [9, 9, 9]]


@pytest.fixture(params=[1, 2], ids=["one depth", "two depths"])
def model(request: pytest.FixtureRequest) -> Any:
    return tiny_policy("tiny-v3", seed=3, num_nextn_predict_layers=request.param)


def test_logprobs_and_gradient_are_the_papers(model: Any) -> None:
    """Every document alone through eq. 21–23, written out with plain modules in float64."""
    packed = pack_documents(DOCUMENTS)
    found = mtp_logprobs(model, packed, hidden_states(model, packed), chunk_tokens=3)
    sum(((k + 1) * values.sum() for k, values in enumerate(found)), torch.zeros(())).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    oracle = model.double()
    expected = [mtp_logprobs_of_sequence(oracle, ids) for ids in DOCUMENTS]
    depths = [torch.cat([values[k] for values in expected]) for k in range(len(found))]
    for k, (a, b) in enumerate(zip(found, depths, strict=True)):
        assert len(a) == sum(max(0, len(d) - k - 2) for d in DOCUMENTS)
        torch.testing.assert_close(a.double(), b, rtol=0, atol=2e-5)
    sum((k + 1) * values.sum() for k, values in enumerate(depths)).backward()  # type: ignore[union-attr]
    own = {n: p.grad for n, p in oracle.named_parameters() if p.grad is not None}
    norm = sum(g.square().sum() for g in own.values()).sqrt().item()
    assert own.keys() == gradients.keys()
    assert {"model.embed_tokens.weight", "lm_head.weight", "model.layers.3.eh_proj.weight"} <= own.keys()
    for name, gradient in own.items():
        torch.testing.assert_close(gradients[name].double(), gradient, rtol=0, atol=1e-5 * norm, msg=name)


def test_no_sequence_of_a_pack_is_seen_by_another(model: Any) -> None:
    def depth_one(documents: list[list[int]]) -> torch.Tensor:
        packed = pack_documents(documents)
        with torch.no_grad():
            return mtp_logprobs(model, packed, hidden_states(model, packed))[0]

    whole = depth_one(DOCUMENTS)
    other = depth_one([DOCUMENTS[0], [50, 51], [52], DOCUMENTS[3], [53, 54, 55]])
    torch.testing.assert_close(whole[:5], other[:5], rtol=0, atol=1e-5)
    torch.testing.assert_close(whole[5:8], other[5:8], rtol=0, atol=1e-5)
    assert (whole[8:] - other[8:]).abs().max() > 0.01


def test_the_main_model_does_not_know_of_them(tmp_path: Path, model: Any) -> None:
    folder = save_policy(model, tmp_path / "with", None)
    tensors = {n: t for n, t in load_file(folder / "model.safetensors").items() if not is_mtp_tensor(n, 3)}
    bare = tmp_path / "without"
    bare.mkdir()
    save_file(tensors, bare / "model.safetensors", {"format": "pt"})
    (bare / "config.json").write_text((folder / "config.json").read_text())
    assert read_facts(bare, need_tokenizer=False).mtp_layers == 0
    without = load_policy(bare)
    assert not mtp_layers(without)
    assert without.config.num_nextn_predict_layers == 0  # type: ignore[union-attr]
    assert torch.equal(sequence_logprobs(without, [1, 5, 9]), sequence_logprobs(model, [1, 5, 9]))


def test_the_export_has_the_published_format_and_comes_back(tmp_path: Path, model: Any) -> None:
    depths = len(mtp_layers(model))
    folder = save_policy(model, tmp_path / "policy", None)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["DeepseekV3ForCausalLM"]
    assert config["num_nextn_predict_layers"] == depths
    stored = load_file(folder / "model.safetensors")
    layer = {n.removeprefix("model.layers.3.") for n in stored if n.startswith("model.layers.3.")}
    block = {n.removeprefix("model.layers.2.") for n in stored if n.startswith("model.layers.2.")}
    extra = {"embed_tokens", "enorm", "hnorm", "eh_proj", "shared_head.norm", "shared_head.head"}
    assert layer == block | {f"{name}.weight" for name in extra}
    assert torch.equal(stored["model.layers.3.shared_head.head.weight"], stored["lm_head.weight"])
    loaded = load_policy(folder)
    assert len(mtp_layers(loaded)) == depths
    own = dict(named_tensors(model))
    assert all(torch.equal(t, own[n]) for n, t in named_tensors(loaded))
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.zero_()
    load_named_tensors(loaded, stored)  # copies of embedding and head and all
    assert all(torch.equal(t, own[n]) for n, t in named_tensors(loaded))


def test_a_layer_cut_short_is_refused(tmp_path: Path, model: Any) -> None:
    folder = save_policy(model, tmp_path / "policy", None)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.3.hnorm.weight"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(BrokenCheckpoint, match=r"model\.layers\.3\.hnorm"):
        load_policy(folder)
