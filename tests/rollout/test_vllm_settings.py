"""vLLM's settings, without vLLM."""

from __future__ import annotations

import ast
import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic import ValidationError

from rollout.config import EngineConfig
from rollout.errors import RolloutError
from rollout.parts import EnginePart
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
    assert on_gpu["gpu_memory_utilization"] == 0.9


def test_no_gpu_setting_reaches_a_cpu(tmp_path: Path) -> None:
    on_cpu = engine_args(folder(tmp_path), CONFIG, on_cpu=True)
    assert "gpu_memory_utilization" not in on_cpu
    assert on_cpu["enforce_eager"] is True
    assert on_cpu["kv_cache_memory_bytes"] == 2**30


def test_drafting_with_mtp_is_for_gpus_and_for_policies_that_have_the_layers(tmp_path: Path) -> None:
    """Golden arguments: never run on hardware."""
    drafts = CONFIG.model_copy(update={"mtp_tokens": 1})
    has_layers = folder(tmp_path, num_nextn_predict_layers=1)
    assert engine_args(has_layers, drafts, on_cpu=False)["speculative_config"] == {
        "method": "mtp",
        "num_speculative_tokens": 1,
    }
    assert "speculative_config" not in engine_args(has_layers, CONFIG, on_cpu=False)
    with pytest.raises(RolloutError, match=r"engine\.mtp_tokens = 1: vLLM's speculative decoding on a CPU"):
        engine_args(has_layers, drafts, on_cpu=True)
    with pytest.raises(RolloutError, match=r"engine\.mtp_tokens = 1, but the policy has no layers"):
        engine_args(folder(tmp_path), drafts, on_cpu=False)


def test_a_cpu_batch_holds_the_longest_prompt(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"max_batched_tokens": 512})
    assert engine_args(folder(tmp_path), config, on_cpu=True)["max_num_batched_tokens"] == 4096
    assert engine_args(folder(tmp_path), config, on_cpu=False)["max_num_batched_tokens"] == 512


@pytest.mark.parametrize(
    ("config", "overrides"),
    [
        ({"model_type": "deepseek_v3"}, {"topk_method": "noaux_tc", "scoring_func": "sigmoid"}),
        (
            {"model_type": "deepseek_v2", "topk_method": "greedy", "n_group": 8},
            {"scoring_func": "softmax", "n_group": 1, "topk_group": 1},
        ),
        (
            {"model_type": "deepseek_v2", "topk_method": "group_limited_greedy", "n_group": 8},
            {"scoring_func": "softmax"},
        ),
        ({"model_type": "llama"}, {}),
    ],
)
def test_vllm_is_told_what_it_would_read_otherwise(
    tmp_path: Path, config: dict[str, object], overrides: dict[str, object]
) -> None:
    for on_cpu in (True, False):
        assert engine_args(folder(tmp_path, **config), CONFIG, on_cpu)["hf_overrides"] == overrides


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
    } | ({} if on_cpu else {"gpu_memory_share": 0.8})
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


PARALLEL = {"distributed_executor_backend": "external_launcher", "disable_custom_all_reduce": True}
ALWAYS = {
    "dtype": "bfloat16",
    "seed": 0,
    "max_num_seqs": 256,
    "max_num_batched_tokens": 8192,
    "kv_cache_memory_bytes": None,
    "enforce_eager": False,
    "worker_extension_cls": "rollout.vllm_worker.WorkerExtension",
    "use_tqdm_on_load": False,
    "hf_overrides": {},
    "trust_remote_code": False,
    "skip_tokenizer_init": True,
    "logprobs_mode": "processed_logprobs",
    "generation_config": "vllm",
    "async_scheduling": False,
    "disable_log_stats": True,
}


@pytest.mark.parametrize(
    ("engine", "takes_turns", "expected"),
    [
        # A: 1.5 B on one GPU, in turns with its learner
        ({"gpu_memory_share": 0.45}, True, {"tensor_parallel_size": 1, "gpu_memory_utilization": 0.45}),
        # B: 7 B, an engine on each of 8 GPUs, in turns
        (
            {"workers": 8, "gpu_memory_share": 0.45},
            True,
            {"tensor_parallel_size": 1, "gpu_memory_utilization": 0.45},
        ),
        # C: 32 B on 8 GPUs of its own
        (
            {"tensor_parallel": 8, "gpu_memory_share": 0.9},
            False,
            {
                "tensor_parallel_size": 8,
                "enable_expert_parallel": False,
                "gpu_memory_utilization": 0.9,
                **PARALLEL,
            },
        ),
        # D: 671 B on two nodes, whole experts on each GPU
        (
            {"tensor_parallel": 16, "nodes": 2, "expert_parallel": True, "gpu_memory_share": 0.9},
            False,
            {
                "tensor_parallel_size": 16,
                "enable_expert_parallel": True,
                "gpu_memory_utilization": 0.9,
                **PARALLEL,
            },
        ),
    ],
)
def test_exact_arguments_of_engines_on_gpus(
    tmp_path: Path, engine: dict[str, object], takes_turns: bool, expected: dict[str, object]
) -> None:
    config = EngineConfig(dtype="bfloat16", max_model_len=2048, **engine)
    found = engine_args(folder(tmp_path), config, on_cpu=False, takes_turns=takes_turns)
    assert found == ALWAYS | expected | {
        "model": str(tmp_path),
        "max_model_len": 2048,
        "enable_sleep_mode": takes_turns,
    }
    fields = names_of_dataclass(VLLM / "engine" / "arg_utils.py", "EngineArgs")
    assert set(found) <= fields, "vLLM knows no such argument"


VLLM = Path(str(find_spec("vllm").submodule_search_locations[0]))  # type: ignore[union-attr, index]


def names_of_dataclass(file: Path, name: str) -> set[str]:
    """The fields of a class, read without importing it: vLLM takes ten seconds."""
    classes = (node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef))
    (found,) = (node for node in classes if node.name == name)
    return {
        node.target.id
        for node in found.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def test_a_cpu_engine_never_sleeps_deeply(tmp_path: Path) -> None:
    assert engine_args(folder(tmp_path), CONFIG, on_cpu=True, takes_turns=True)["enable_sleep_mode"] is False


def test_processes_of_an_engine_meet_at_rank_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    prepare_process(folder(tmp_path), CONFIG, EnginePart(3, 8), "tcp://[fd00::1]:4711")
    names = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK")
    assert [os.environ[name] for name in names] == ["fd00::1", "4711", "3", "8", "0"]
    monkeypatch.setattr(os, "environ", {})
    prepare_process(tmp_path, CONFIG)
    assert "RANK" not in os.environ


def test_an_engine_has_as_many_processes_as_gpus(tmp_path: Path) -> None:
    config = EngineConfig(dtype="float32", tensor_parallel=2)
    with pytest.raises(ValueError, match="tensor_parallel = 2 takes as many processes, not 1"):
        VllmEngine(folder(tmp_path), config)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tensor_parallel": 8, "nodes": 3}, "tensor_parallel = 8 GPUs cannot be spread over nodes = 3"),
        ({"expert_parallel": True}, "set tensor_parallel above 1"),
    ],
)
def test_parts_of_an_engine_are_whole(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EngineConfig(**keys)
