"""Folders with DeepSeek's own config keys and tensor names: they load, compute the released model, and go back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from policies.export import save_policy
from policies.facts import read_facts
from policies.hf_names import named_tensors
from policies.load import load_policy
from policies.logprobs import sequence_logprobs
from policies.mtp import is_shared_copy
from tests.oracles.deepseek_oracle import forward
from tests.policies.released_folders import CONFIGS, random_tensors, shapes, write

TOKENS = [int(i) for i in torch.randint(2, 96, (60,), generator=torch.Generator().manual_seed(5))]


@pytest.mark.parametrize("release", CONFIGS)
def test_a_release_loads_and_computes_what_it_should(tmp_path: Path, release: str) -> None:
    config = CONFIGS[release]
    tensors = random_tensors(config)
    folder = write(tmp_path / "release", config, tensors, files=3)
    facts = read_facts(folder, need_tokenizer=False)
    assert facts.mtp_layers == config.get("num_nextn_predict_layers", 0)
    assert facts.parameters == sum(torch.Size(shape).numel() for _, shape in shapes(config))
    model = load_policy(folder)
    assert not (folder / "ran").exists()
    named = dict(named_tensors(model))
    assert named.keys() == {name for name in tensors if not is_shared_copy(name)}
    assert all(torch.equal(tensor, tensors[name].float()) for name, tensor in named.items())
    expected = forward(config, tensors, TOKENS).logprobs.gather(1, torch.tensor(TOKENS[1:])[:, None])[:, 0]
    assert (sequence_logprobs(model, TOKENS).double() - expected).abs().max() < 1e-4


@pytest.mark.parametrize("release", CONFIGS)
def test_an_export_has_the_released_names_and_keys(tmp_path: Path, release: str) -> None:
    config = CONFIGS[release]
    tensors = random_tensors(config)
    folder = write(tmp_path / "release", config, tensors)
    out = save_policy(load_policy(folder), tmp_path / "out", None, dtype=torch.bfloat16)
    stored = load_file(out / "model.safetensors")
    assert stored.keys() == tensors.keys()
    assert all(torch.equal(stored[name], tensors[name].bfloat16()) for name in tensors)
    written = json.loads((out / "config.json").read_text())
    assert not {"auto_map", "rope_parameters", "quantization_config"} & written.keys()
    others = ("transformers_version", "auto_map")
    assert {key: written.get(key) for key in config if key not in others} == {
        key: value for key, value in config.items() if key not in others
    }
