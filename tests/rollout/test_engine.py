"""The engine against a plain transformers forward; what each cure is for; who catches which fault.

The work is done once, in `engine_checks.py`, in a process of its own; the tests here read its report.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rollout.publication import READ_BACK_PARTS
from tests.rollout.families import EVERYDAY, FAMILIES
from tests.tiny import slow_tests_run

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-4
PRESETS = [
    preset if preset in EVERYDAY else pytest.param(preset, marks=pytest.mark.slow) for preset in FAMILIES
]


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("engine")
    words = [str(folder)] if slow_tests_run(request) else [str(folder), "--everyday"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.rollout.engine_checks", *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "report.json").read_text())


def section(report: dict[str, Any], name: str) -> dict[str, Any]:
    result = report[name]
    assert "crash" not in result, result["crash"]
    return result


@pytest.mark.parametrize("preset", PRESETS)
def test_engine_computes_what_transformers_does(report: dict[str, Any], preset: str) -> None:
    result = section(report, preset)
    assert result["entropy_share"] < 0.8, "logits are too uniform to tell a wrong model from a right one"
    assert result["prompts_before"] < TOLERANCE
    assert result["samples_before"] < TOLERANCE
    assert result["other_experts"] == (0 if "-v" in preset else None)


@pytest.mark.parametrize("preset", PRESETS)
def test_engine_computes_what_transformers_does_after_a_sync(report: dict[str, Any], preset: str) -> None:
    result = section(report, preset)
    assert result["version"] == 1
    assert result["tensors"] == result["published"]
    assert result["read_back"] + len(result["packed"]) == result["published"]
    plain = ("norm.weight", "embed_tokens.weight", "e_score_correction_bias")
    assert not [name for name in result["packed"] if name.endswith(plain)], "not read back"
    uncovered = [n for n in result["packed"] if ".experts." in n] if "-v" in preset else []
    others = set(result["uncovered"]) - {n for n in result["uncovered"] if n.endswith("kv_b_proj.weight")}
    assert others == set(uncovered), "the canary may be left out although nothing else covers a tensor"
    assert result["canary"] < TOLERANCE
    assert result["prompts_after"] < TOLERANCE
    assert result["samples_after"] < TOLERANCE
    assert result["old_mismatch_after"] > 1, (
        "the new weights are so close to the old ones that the test shows nothing"
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_adapters_alone_make_the_engine_compute_the_merged_policy(
    report: dict[str, Any], preset: str
) -> None:
    result = section(report, preset)["adapters"]
    assert result["tensors"] == result["published"], "not every tensor reached the engine"
    assert result["found"] == len(range(1, result["published"], READ_BACK_PARTS)), "not read back"
    assert result["canary"] < TOLERANCE
    assert result["prompts"] < TOLERANCE
    assert result["effect"] > 0.01, "the adapters change so little that the test shows nothing"
    assert result["share"] < 0.6


def test_same_chunk_gives_the_same_bits(report: dict[str, Any]) -> None:
    result = section(report, "determinism")
    assert result["again"], "a second run of the chunk differs"
    assert result["after_reload"], "the chunk differs after other weights had been loaded, and these again"
    assert result["after_closing_early"], "the chunk differs after an earlier run was closed half-way"
    assert result["other_seeds_differ"]
    assert result["other_weights_differ"]


def test_groups_arrive_while_others_still_run(report: dict[str, Any]) -> None:
    assert section(report, "determinism")["first_group_before_the_last"]


def test_an_idle_engine_holds_no_keys_and_values(report: dict[str, Any]) -> None:
    result = section(report, "determinism")
    assert result["cache_in_use"] > 1000
    # A page that a tensor shares with something else stays.
    assert result["cache_left"] < 0.01 * result["cache_in_use"] + 4096


def test_the_quick_sampler_gives_what_vllms_own_gives(report: dict[str, Any]) -> None:
    assert section(report, "quick_sampling") == {"replaced": True, "equal": [True, True]}


def test_first_tokens_follow_the_requested_distribution(report: dict[str, Any]) -> None:
    result = section(report, "sampling")
    # 99.99% of a χ² with up to 95 degrees of freedom lies below 155; seeds are fixed.
    assert result["cells"] > 60
    assert result["chi2"] < 155


def test_top_p_samples_and_logprobs_are_those_of_the_nucleus(report: dict[str, Any]) -> None:
    result = section(report, "sampling")
    assert result["nucleus"] > 1
    assert result["top_p_outside"] == []
    assert result["top_p_mismatch"] < TOLERANCE


def test_greedy_takes_the_likeliest_token(report: dict[str, Any]) -> None:
    result = section(report, "sampling")
    assert result["greedy_equal"]
    assert result["greedy_first_is_argmax"]


def test_samples_end_with_their_stop_token_or_at_the_limit(report: dict[str, Any]) -> None:
    result = section(report, "sampling")
    assert result["stops"] > 5
    assert result["stop_token_is_last_and_only"]
    assert result["truncated_are_full"]
    assert result["lengths_agree"]
    assert result["text"]


def test_bad_chunks_are_refused_before_anything_runs(report: dict[str, Any]) -> None:
    result = section(report, "refusals")
    assert result["unproven"].startswith("StaleEngine")
    assert result["stale"].startswith("StaleEngine")
    assert all(part in result["long"] for part in ("RolloutError", "prompt bad", "1022", "1024"))
    assert "prompt bad is empty" in result["empty"]
    assert "prompt bad has a token outside the vocabulary" in result["vocabulary"]
    assert result["then"] == 5


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("corrupted", "model.layers.2.mlp.experts.3.down_proj.weight is corrupted"),
        ("dropped_on_the_way", "model.layers.2.mlp.experts.3.down_proj.weight is missing"),
        ("dropped_window", "model.layers.1.self_attn.q_proj.weight is missing"),
        ("swapped", "model.layers.2.mlp.experts.1.down_proj.weight is corrupted"),
        ("stale_parameter", "model.layers.1.input_layernorm.weight: 64 of 64 elements"),
        ("swapped_parameters", "model.layers.1.post_attention_layernorm.weight: 64 of 64 elements"),
        ("stale_matrix", "model.layers.1.self_attn.o_proj.weight: "),
        ("dropped_by_the_learner", "model.layers.2.mlp.experts.routed_experts got 45,056 of 49,152 elements"),
        ("no_bias", "model.layers.1.mlp.gate.e_score_correction_bias got 0 of 4"),
        ("stale_bias", "canary prompt"),
        ("unknown", "model.layers.1.mlp.gate.surprise"),
        ("smaller", "model.layers.2.mlp.experts.routed_experts got 45,568 of 49,152 elements"),
    ],
)
def test_a_fault_of_the_sync_is_named_and_leaves_no_version(
    report: dict[str, Any], fault: str, named: str
) -> None:
    result = section(report, "faults")
    assert result[fault].startswith("WeightSyncError")
    assert named in result[fault]
    assert result[f"{fault}_version"] is None


def test_a_good_publication_heals_an_engine_after_faults(report: dict[str, Any]) -> None:
    result = section(report, "faults")
    assert result["good"] == ""
    assert result["good_version"] == 7


def test_a_stale_bias_is_told_with_position_and_both_values(report: dict[str, Any]) -> None:
    text = section(report, "faults")["stale_bias"]
    assert all(word in text for word in ("position", "engine", "learner"))


@pytest.mark.slow
def test_a_config_that_is_silent_about_the_router_means_what_transformers_means(
    report: dict[str, Any],
) -> None:
    result = section(report, "silent_config")
    assert result["mismatch"] < TOLERANCE
    assert result["uncured"].startswith(("RolloutError", "WeightSyncError"))
    assert "e_score_correction_bias" in result["uncured"]


@pytest.mark.slow
def test_a_released_folder_runs_without_its_code_and_chooses_greedily(report: dict[str, Any]) -> None:
    result = section(report, "released")
    assert result["cured"] < TOLERANCE
    assert result["uncured"] > 0.01, "vLLM's own reading of the config is right by now: remove the override"
    assert not result["code_ran"]


@pytest.mark.slow
def test_a_family_of_one_file_runs_in_the_engine(report: dict[str, Any]) -> None:
    result = section(report, "documented")
    assert result["entropy_share"] < 0.8
    assert result["prompts"] < TOLERANCE
    assert result["read_back"] > 0


@pytest.mark.slow
def test_a_row_of_the_doctors_table(report: dict[str, Any]) -> None:
    row = section(report, "parity")
    assert (row["preset"], row["family"], row["error"]) == ("mini-v2-lite", "deepseek_v2", "")
    assert 1e-4 < row["mean"] < row["largest"], "bfloat16 is measured as float32"
    assert 0.8 < row["routing"] <= 1
    assert row["synced"] > row["read_back"] > 0
    assert row["round_trip"]


def test_bfloat16_wire_keeps_the_routers_in_float32(report: dict[str, Any]) -> None:
    result = section(report, "bfloat16")
    assert result["kinds"] == ["BF16"]
    assert len(result["routers"]) == 4
    assert set(result["routers"].values()) == {"F32"}
    assert 0 < result["mean"] < 0.15


def test_a_bfloat16_engine_computes_its_router_in_float32(report: dict[str, Any]) -> None:
    result = section(report, "bfloat16")
    assert result["router_error"] < 2e-6
    assert result["router_error_uncured"] > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cure", "catcher"),
    [
        ("rope", "canary prompt"),
        ("packed", "cannot load model.layers.0"),
        ("moe", "canary prompt"),
        ("head", "canary prompt"),
        ("mla", "Head dimension"),
        ("chunked", "offset"),
    ],
)
def test_without_its_cure_each_trap_springs(report: dict[str, Any], cure: str, catcher: str) -> None:
    assert catcher in section(report, "traps")[cure]


@pytest.mark.slow
@pytest.mark.skipif(not torch.cpu._is_amx_tile_supported(), reason="this CPU has no AMX tiles")
def test_without_its_cure_an_amx_host_cannot_start_float32_mla(report: dict[str, Any]) -> None:
    assert "expect weight to be bfloat16" in section(report, "traps")["amx"]


@pytest.mark.slow
def test_without_its_cure_the_rope_kernel_is_wrong(report: dict[str, Any]) -> None:
    assert section(report, "traps")["rope_mismatch"] > 0.1


@pytest.mark.slow
def test_without_its_cure_cached_prompts_are_answered_with_old_weights(report: dict[str, Any]) -> None:
    assert section(report, "traps")["prefix_mismatch"] > 0.1


@pytest.mark.slow
def test_whole_prompts_beyond_one_batch_run_with_seeds(report: dict[str, Any]) -> None:
    assert section(report, "traps")["chunked_cured"] == ""
