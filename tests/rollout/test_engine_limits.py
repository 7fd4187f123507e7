"""What vLLM's CPU kernels refuse, against the installed vLLM's own list."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest
from transformers import AutoConfig

from policies.families.registry import PRESETS
from policies.presets import tiny_config
from rollout.config import EngineConfig
from rollout.engine_limits import CPU_HEAD_SIZES, attention_width, cpu_refusal, split_refusal
from rollout.errors import RolloutError
from rollout.vllm_settings import check_cpu_engine


def test_the_list_is_that_of_the_installed_vllm() -> None:
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent / "v1/attention/backends/cpu_attn.py"
    functions = {
        node.name: node
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    returned = functions["get_supported_head_sizes"].body[-1]
    assert isinstance(returned, ast.Return)
    assert returned.value is not None
    assert tuple(ast.literal_eval(returned.value)) == CPU_HEAD_SIZES


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_one_that_the_engine_can_compute(preset: str) -> None:
    assert cpu_refusal(tiny_config(preset, 100).to_dict()) is None


@pytest.mark.parametrize(
    ("config", "width"),
    [
        ({"hidden_size": 80, "num_attention_heads": 2}, 40),
        ({"hidden_size": 80, "num_attention_heads": 2, "head_dim": 64}, 64),
        ({"text_config": {"hidden_size": 72, "num_attention_heads": 3}}, 24),
        ({"kv_lora_rank": 32, "qk_rope_head_dim": 16, "qk_nope_head_dim": 24, "head_dim": 16}, 40),
        ({"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 24}, None),
        ({}, None),
    ],
)
def test_the_width_that_the_kernel_gets(config: dict[str, object], width: int | None) -> None:
    assert attention_width(config) == width


def test_a_policy_with_another_width_is_refused_with_the_widths_there_are(tmp_path: Path) -> None:
    AutoConfig.for_model("llama", hidden_size=80, num_attention_heads=2, num_hidden_layers=1).save_pretrained(
        tmp_path
    )
    with pytest.raises(
        RolloutError, match=r"heads are 40 wide, and vLLM's CPU attention has kernels for 32, 64, 80"
    ):
        check_cpu_engine(tmp_path, EngineConfig())


def test_experts_are_not_divided_on_a_cpu() -> None:
    refusal = cpu_refusal(tiny_config("tiny-v3", 100).to_dict(), expert_parallel=True)
    assert refusal is not None
    assert "engine.expert_parallel" in refusal


QWEN_32B = {"num_attention_heads": 40, "num_key_value_heads": 8, "intermediate_size": 27648}
V3 = {
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "kv_lora_rank": 512,
    "intermediate_size": 18432,
    "n_routed_experts": 256,
    "moe_intermediate_size": 2048,
}


@pytest.mark.parametrize(
    ("config", "parts", "experts", "named"),
    [
        (QWEN_32B, 8, False, None),
        (QWEN_32B, 16, False, "attention heads of 40; set it to 10, or to another divisor"),
        (QWEN_32B, 40, False, "an intermediate_size of 27,648"),
        (QWEN_32B | {"intermediate_size": 27640}, 20, False, "key-value heads of 8"),
        (QWEN_32B, 8, True, "the policy has none"),
        ({"text_config": QWEN_32B}, 16, False, "attention heads of 40"),
        (QWEN_32B | {"num_key_value_heads": 2}, 8, False, None),  # vLLM keeps copies of the two
        (V3, 16, False, None),
        (V3, 32, True, None),
        (V3 | {"moe_intermediate_size": 1000}, 16, False, "a moe_intermediate_size of 1,000"),
        (V3 | {"moe_intermediate_size": 1000}, 16, True, None),  # experts stay whole
    ],
)
def test_policies_that_cannot_be_split_are_refused(
    config: dict[str, object], parts: int, experts: bool, named: str | None
) -> None:
    refusal = split_refusal(config, parts, experts)
    assert refusal is None if named is None else named in (refusal or "")
