"""What is refused of a config.json, and that a family is one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from policies.errors import UnsupportedArchitecture
from policies.export import save_policy
from policies.facts import read_facts
from policies.families.registry import BY_ARCHITECTURE, FAMILIES, PRESETS
from policies.load import load_policy
from policies.logprobs import sequence_logprobs
from policies.parts import tensors
from policies.presets import tiny_config
from policies.refusals import refusal
from tests.policies.documented_family import added, documented_family
from tests.policies.released_folders import CONFIGS
from tests.policies.tiny import tiny_policy

YARN = CONFIGS["v3"]["rope_scaling"]


def config_of(preset: str) -> dict[str, Any]:
    config = tiny_config(preset, 96)
    return {**config.to_dict(), "architectures": [FAMILIES[config.model_type].architecture]}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_names_of_a_family_are_transformers_own(name: str) -> None:
    import transformers

    family = FAMILIES[name]
    assert getattr(transformers, family.architecture).config_class.model_type == name
    assert BY_ARCHITECTURE[family.architecture] is family


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_supported(preset: str) -> None:
    assert refusal(config_of(preset)) is None


@pytest.mark.parametrize("release", CONFIGS)
def test_released_configs_are_supported(release: str) -> None:
    assert refusal(CONFIGS[release]) is None


@pytest.mark.parametrize(
    ("release", "changes", "message"),
    [
        ("v3", {"scoring_func": "softmax"}, "scoring_func = 'softmax': .* supported is 'sigmoid'"),
        ("v3", {"topk_method": "greedy"}, "topk_method = 'greedy': .* 'noaux_tc'"),
        ("v3", {"rope_interleave": False}, "rope_interleave = False"),
        ("v3", {"n_group": 3}, "n_routed_experts = 16 is no multiple of n_group = 3"),
        ("v3", {"topk_group": 9}, "topk_group = 9: expected 1 to n_group = 8"),
        ("v3", {"num_experts_per_tok": 9}, "num_experts_per_tok = 9: topk_group = 4 groups hold 8 experts"),
        ("v3", {"n_group": 16, "topk_group": 8}, "n_group = 16: a group of 16 experts needs two"),
        ("v3", {"n_shared_experts": None}, "n_shared_experts = None"),
        ("v3", {"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ("v3", {"attention_bias": True}, "attention_bias = True"),
        ("v3", {"rms_norm_eps": 1e-5}, "rms_norm_eps = 1e-05"),
        ("v3", {"moe_layer_freq": 2}, "moe_layer_freq = 2"),
        ("v3", {"num_key_value_heads": 1}, "num_key_value_heads = 1"),
        ("v3", {"v_head_dim": 65}, "v_head_dim = 65 is wider than a query head of 64"),
        ("v3", {"ep_size": 8}, "ep_size = 8"),
        ("v3", {"max_position_embeddings": 1281}, "max_position_embeddings = 1,281 is longer than .* 1,280"),
        ("v3", {"rope_scaling": {**YARN, "type": "linear"}}, "rope type 'linear'"),
        ("v3", {"rope_scaling": {**YARN, "mscale_all_dim": 0, "mscale": 0.707}}, "without mscale_all_dim"),
        ("v3", {"rope_scaling": {**YARN, "mscale": None}}, "mscale_all_dim = 1.0 without mscale"),
        ("v3", {"rope_scaling": {**YARN, "attention_factor": 1.0}}, "attention_factor = 1.0"),
        ("v3", {"rope_scaling": {**YARN, "truncate": False}}, "truncate = False"),
        ("v3", {"rope_scaling": {**YARN, "factor": "40"}}, "rope_scaling.factor = '40'"),
        (
            "v3",
            {"rope_scaling": {k: v for k, v in YARN.items() if k != "original_max_position_embeddings"}},
            "no original_max_position_embeddings",
        ),
        ("v3", {"rope_scaling": "yarn"}, "rope_scaling = 'yarn': expected an object"),
        ("v3", {"model_type": "kimi_k2"}, "model_type = 'kimi_k2' with .*DeepseekV3ForCausalLM"),
        ("v3", {"model_type": None}, "model_type = None"),
        ("v2", {"scoring_func": "sigmoid"}, "scoring_func = 'sigmoid'"),
        ("v2", {"topk_method": "gready"}, "topk_method = 'gready'"),
        ("v2", {"norm_topk_prob": True}, "norm_topk_prob = True"),
        ("v2", {"mlp_bias": True}, "mlp_bias = True"),
        ("v2", {"n_group": None}, "needs n_group and topk_group"),
        ("lite", {"num_experts_per_tok": None}, "num_experts_per_tok"),
    ],
)
def test_a_switch_that_would_break_is_named(release: str, changes: dict[str, Any], message: str) -> None:
    import re

    reason = refusal({**CONFIGS[release], **changes})
    assert reason is not None
    assert re.search(message, reason), reason


@pytest.mark.parametrize("value", ["8", 8.5, [8], {"a": 1}, True, -1, 0, None, float("nan")])
@pytest.mark.parametrize("release", CONFIGS)
def test_no_value_of_a_config_makes_a_check_fail_itself(release: str, value: object) -> None:
    for key in CONFIGS[release]:
        reason = refusal({**CONFIGS[release], key: value})
        assert reason is None or isinstance(reason, str)
        refusal({**CONFIGS[release], "architectures": ["Other"], "model_type": "other", key: value})


@pytest.mark.parametrize(
    ("preset", "changes", "message"),
    [
        ("mini-qwen2", {"use_sliding_window": True}, "use_sliding_window = True"),
        (
            "mini-qwen3",
            {"layer_types": ["full_attention", "sliding_attention"]},
            "layer_types has sliding_attention",
        ),
        ("mini-llama3", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "rope type 'dynamic'"),
        ("mini-llama3", {"hidden_act": "relu"}, "hidden_act = 'relu'"),
    ],
)
def test_a_switch_of_a_dense_policy_that_would_break_is_named(
    preset: str, changes: dict[str, Any], message: str
) -> None:
    assert message in (refusal({**config_of(preset), **changes}) or "")


def test_a_refusal_names_the_file_before_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["v2"] | {"norm_topk_prob": True}))
    with pytest.raises(UnsupportedArchitecture, match=r"config\.json: norm_topk_prob = True"):
        read_facts(tmp_path)


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        (("deepseek_v32", "DeepseekV32ForCausalLM", {"index_topk": 2048}), ["sparse attention (index_topk)"]),
        (
            ("deepseek_v4", "DeepseekV4ForCausalLM", {
                "index_topk": 512, "compress_ratios": [0, 4, 128], "hc_mult": 4, "num_hash_layers": 3,
                "scoring_func": "sqrtsoftplus", "sliding_window": 128,
            }),
            ["sparse attention", "compressed attention", "hyper-connections", "hash-routed", "router score", "window"],
        ),
        (("qwen3_next", "Qwen3NextForCausalLM", {"full_attention_interval": 4}), ["linear attention"]),
        (("qwen3_moe", "Qwen3MoeForCausalLM", {"num_experts": 128}), ["experts of another layout"]),
        (("mamba2", "Mamba2ForCausalLM", {"state_size": 128}), ["state-space layers"]),
        (("deepseek_vl_v2", "DeepseekVLV2ForCausalLM", {"vision_config": {"a": 1}}), ["images or sound"]),
        (("gemma2", "Gemma2ForCausalLM", {"sliding_window": 4096}), ["sliding-window attention"]),
        (("olmo2", "Olmo2ForCausalLM", {}), ["a family file for 'olmo2'"]),
        (
            ("brand_new", "BrandNewForCausalLM", {"auto_map": {"AutoModelForCausalLM": "x.Y"}}),
            ["has none for 'brand_new'", "is never run"],
        ),
        ((None, "BrandNewForCausalLM", {}), ["is not supported"]),
    ],
)  # fmt: skip
def test_a_newer_architecture_is_refused_with_what_is_missing(config: Any, missing: list[str]) -> None:
    kind, architecture, fields = config
    reason = refusal({"architectures": [architecture], "model_type": kind, **fields})
    assert reason is not None
    assert architecture in reason
    assert "DeepseekV3ForCausalLM" in reason, "the supported ones are not named"
    assert [part for part in missing if part not in reason] == []


def test_a_family_is_one_file(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    ids = [3, 1, 4, 1, 5, 9, 2, 6, 5]
    with added(documented_family()) as family:
        (preset,) = family.presets
        model = tiny_policy(preset)
        folder = save_policy(model, tmp_path / "policy", None)
        loaded = load_policy(folder)
        assert torch.equal(sequence_logprobs(loaded, ids), sequence_logprobs(model, ids))
        plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
        expected = plain(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        expected = expected.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        torch.testing.assert_close(sequence_logprobs(loaded, ids), expected, atol=1e-5, rtol=0)
        counted = {t.name: t.shape for t in tensors(model.config.to_dict())}
        assert counted == {name: tuple(p.shape) for name, p in model.named_parameters()}
        config = json.loads((folder / "config.json").read_text())
        assert "sliding_window must be null" in (refusal(config | {"sliding_window": 4096}) or "")
    assert "MistralForCausalLM" in (refusal(config) or "")
