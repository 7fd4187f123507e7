"""vLLM's settings, without vLLM."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from rollout.config import EngineConfig
from rollout.errors import RolloutError
from rollout.vllm_engine import VllmEngine
from rollout.vllm_settings import engine_args, needs_plain_attention, prepare_process

CONFIG = EngineConfig(dtype="float32")


def folder(tmp_path: Path, **config: object) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 4096} | config))
    return tmp_path


def test_no_cpu_setting_reaches_a_gpu(tmp_path: Path) -> None:
    on_gpu = engine_args(folder(tmp_path), CONFIG, on_cpu=False)
    assert not {"block_size", "compilation_config", "enable_chunked_prefill"} & set(on_gpu)
    assert on_gpu["kv_cache_memory_bytes"] is None
    assert on_gpu["enforce_eager"] is False
    assert on_gpu["gpu_memory_utilization"] == CONFIG.gpu_memory_share


def test_no_gpu_setting_reaches_a_cpu(tmp_path: Path) -> None:
    on_cpu = engine_args(folder(tmp_path), CONFIG, on_cpu=True)
    assert "gpu_memory_utilization" not in on_cpu
    assert on_cpu["enforce_eager"] is True
    assert on_cpu["kv_cache_memory_bytes"] == 2**30


def test_a_cpu_batch_holds_the_longest_prompt(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"max_batched_tokens": 512})
    assert engine_args(folder(tmp_path), config, on_cpu=True)["max_num_batched_tokens"] == 4096
    assert engine_args(folder(tmp_path), config, on_cpu=False)["max_num_batched_tokens"] == 512


@pytest.mark.parametrize("on_cpu", [True, False])
def test_every_option_of_the_engine_has_an_effect(tmp_path: Path, on_cpu: bool) -> None:
    changes = {
        "dtype": "bfloat16",
        "tensor_parallel": 2,
        "max_sequences": 7,
        "max_batched_tokens": 9000,
        "max_model_len": 100,
        "kv_cache_gib": 0.5,
        "enforce_eager": not on_cpu,
    } | ({} if on_cpu else {"gpu_memory_share": 0.9})
    plain = engine_args(folder(tmp_path), CONFIG, on_cpu)
    for name, value in changes.items():
        assert engine_args(tmp_path, CONFIG.model_copy(update={name: value}), on_cpu) != plain, name


@pytest.mark.parametrize(
    ("config", "plain"),
    [
        ({"kv_lora_rank": 32, "qk_rope_head_dim": 16}, True),
        ({"kv_lora_rank": 512, "qk_rope_head_dim": 64}, False),
        ({"kv_lora_rank": 512, "qk_rope_head_dim": 32}, True),
        ({}, False),
    ],
)
def test_mla_of_other_dimensions_runs_as_plain_attention(
    tmp_path: Path, config: dict[str, int], plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {})
    assert needs_plain_attention(folder(tmp_path, **config)) is plain
    prepare_process(tmp_path, CONFIG)
    assert os.environ.get("VLLM_MLA_DISABLE") == ("1" if plain else None)
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_a_folder_without_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match=str(tmp_path)):
        needs_plain_attention(tmp_path)


def test_a_config_without_context_length_asks_for_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RolloutError, match="max_model_len"):
        engine_args(tmp_path, CONFIG, on_cpu=True)


def test_unresolved_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="auto"):
        VllmEngine(tmp_path, EngineConfig())


@pytest.mark.parametrize("field", ["workers", "chunk_groups", "chunk_timeout_s", "kv_cache_gib"])
def test_config_refuses_nonsense(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        EngineConfig(**{field: 0})
