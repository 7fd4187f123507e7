"""Bytes of a rank and of a place, by hand; and the 671 B policy against torch on the meta device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from grpo.config.mesh import MeshConfig
from grpo.config.sections import LearnerConfig, LoraConfig, OptimizerConfig
from grpo.memory.demand import Machine, RunShape, demands, takes_turns
from grpo.memory.fit import knobs, problem, savings, warning, worst
from grpo.memory.model import GIB, MIB, MOMENTS, RankRun, rank_memory
from policies.parts import tensors
from policies.presets import tiny_config
from policies.sizes import CONFIGS
from rollout.config import EngineConfig

QWEN_1P5B = CONFIGS["Qwen/Qwen2.5-Math-1.5B"]
V3 = CONFIGS["deepseek-ai/DeepSeek-V3-Base"]


def rank(config: Any = QWEN_1P5B, moments: str = "float32", lora: int = 0, **learner: Any) -> RankRun:
    optimizer = OptimizerConfig.model_validate({"moments": moments})
    chosen = LearnerConfig.model_validate(learner)
    return RankRun(config, chosen, optimizer, LoraConfig(rank=lora) if lora else None, has_reference=True)


def test_a_replicated_rank_holds_16_bytes_a_parameter_at_the_update() -> None:
    count = sum(t.count for t in tensors(QWEN_1P5B))
    assert count / 1e9 == pytest.approx(1.54, abs=0.01)
    found = rank_memory(rank())
    kinds = found.kinds["update"]
    assert (kinds["weights"], kinds["gradients"], kinds["moments"]) == (4 * count, 4 * count, 8 * count)
    assert found.elements == count
    # Matrices of the reference are bfloat16; the embedding, which is the head too, and the vectors are float32.
    wide = sum(t.count for t in tensors(QWEN_1P5B) if t.part in ("embedding", "norms"))
    assert found.kinds["logprobs"]["reference"] == 2 * count + 2 * wide
    assert rank_memory(rank(moments="bfloat16")).kinds["update"]["moments"] == 4 * count


def test_adapters_alone_have_gradients_and_moments() -> None:
    kinds = rank_memory(rank(lora=16)).kinds["update"]
    hidden, kv, inner, layers = 1536, 256, 8960, 28
    adapters = layers * 16 * (2 * (hidden + hidden) + 2 * (hidden + kv) + 3 * (hidden + inner))
    assert kinds["gradients"] == 4 * adapters
    assert kinds["moments"] == 8 * adapters


def test_moments_on_the_host_take_nothing_of_a_gpu_and_the_same_of_a_cpu() -> None:
    on_gpu = rank_memory(rank(offload_optimizer=True)).kinds["update"]
    assert on_gpu["moments"] == 0
    assert on_gpu["weights"] == rank_memory(rank()).kinds["update"]["weights"]
    on_cpu, plain = (
        rank_memory(replace(rank(offload_optimizer=offload), device="cpu")) for offload in (True, False)
    )
    assert on_cpu.kinds == plain.kinds


def test_frozen_matrices_in_bfloat16_are_half_as_large_and_need_no_rounded_copy() -> None:
    full = rank(lora=16)
    half = replace(full, lora=LoraConfig(rank=16, frozen_dtype="bfloat16"))
    before, after = (rank_memory(run).kinds["update"] for run in (full, half))
    matrices = sum(t.count for t in tensors(QWEN_1P5B) if t.part not in ("embedding", "norms"))
    assert before["weights"] - after["weights"] == 2 * matrices
    assert before["activations"] - after["activations"] == pytest.approx(2 * matrices, rel=0.01)
    moe = rank(V3, lora=16)
    kept = sum(t.count for t in tensors(V3) if t.part in ("embedding", "norms", "router"))
    stored = rank_memory(replace(moe, lora=LoraConfig(rank=16, frozen_dtype="bfloat16"))).kinds["update"]
    adapters = rank_memory(moe).kinds["update"]["gradients"]
    whole = sum(t.count for t in tensors(V3))
    assert stored["weights"] == adapters + 2 * (whole - kept) + 4 * kept


def test_a_run_that_is_too_large_for_a_gpu_is_told_of_both_keys() -> None:
    machine = Machine(1, 24 * GIB, "small")
    texts = {knob.text for knob in knobs(shape(rank(lora=16), EngineConfig()), machine)}
    assert 'policy.lora.frozen_dtype = "bfloat16"' in texts
    assert "learner.offload_optimizer = true" in texts
    assert "learner.offload_optimizer = true" not in {
        knob.text for knob in knobs(shape(rank(), EngineConfig()), Machine(0, 24 * GIB, "host"))
    }


def test_shards_divide_what_belongs_to_the_policy_and_nothing_else() -> None:
    alone, eight = rank_memory(rank()).kinds["update"], rank_memory(rank(ranks=8)).kinds["update"]
    for kind in ("weights", "gradients", "moments"):
        assert eight[kind] == pytest.approx(alone[kind] / 8, rel=1e-4)
    assert eight["activations"] == alone["activations"]
    assert eight["gathered"] > 0
    assert alone["gathered"] == 0
    copies = rank(ranks=8, mesh=MeshConfig(replicate=2))
    assert rank_memory(copies).kinds["update"]["weights"] == pytest.approx(alone["weights"] / 4, rel=1e-4)
    context = rank_memory(rank(ranks=8, mesh=MeshConfig(context=4))).kinds["update"]
    assert context["activations"] < alone["activations"] / 2, "rounded weights stay"


def test_recompute_keeps_inputs_and_one_layer() -> None:
    full, less = (rank_memory(rank(recompute=on)).kinds["update"]["activations"] for on in (False, True))
    assert less < full / 5
    assert less > 28 * 4 * 1536 * 4096


def test_a_small_batch_bounds_the_micro_batch() -> None:
    assert RankRun(QWEN_1P5B, LearnerConfig(), OptimizerConfig(), most_tokens=100).tokens == 100
    assert RankRun(QWEN_1P5B, LearnerConfig(), OptimizerConfig(), most_tokens=10**9).tokens == 4096


def test_671b_on_256_gpus_with_and_without_expert_parallelism() -> None:
    learner = {"ranks": 256, "tokens_per_micro_batch": 8192, "recompute": True}
    for bytes_, moments in ((16, "float32"), (12, "bfloat16")):
        run = rank(V3, moments, **learner, mesh=MeshConfig(expert=64))
        found = rank_memory(run)
        kinds = found.kinds["update"]
        held = kinds["weights"] + kinds["gradients"] + kinds["moments"]
        assert held / found.elements == pytest.approx(bytes_, rel=1e-3)
        assert held / GIB == pytest.approx({16: 39.1, 12: 29.3}[bytes_], rel=0.01)
        # The reference's values come from the host; the policy's own wait in float32 meanwhile.
        assert found.kinds["logprobs"]["reference"] / GIB == pytest.approx(39.1 / 4, rel=0.01)
    spread = rank_memory(rank(V3, **learner, mesh=MeshConfig(expert=64))).kinds["update"]["gathered"]
    whole = rank_memory(rank(V3, **learner)).kinds["update"]["gathered"]
    assert spread < 20 * GIB < 80 * GIB < whole, "a layer's experts do not fit a GPU"


def test_671b_on_the_meta_device_holds_what_the_model_says() -> None:
    """torch's own division: fully_shard over 256 fake ranks, experts over EP 64 × 4."""
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import fully_shard
    from torch.testing._internal.distributed.fake_pg import FakeStore
    from transformers import AutoConfig, AutoModelForCausalLM

    known = V3 | {"num_nextn_predict_layers": 0}
    config = AutoConfig.for_model(known.pop("model_type"), **known)
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=256)
    try:
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        everyone = DeviceMesh("cpu", list(range(256)))
        same_experts = DeviceMesh("cpu", torch.arange(256).view(4, 64), mesh_dim_names=("parts", "expert"))
        for layer in model.model.layers:
            experts = getattr(layer.mlp, "experts", None)
            if experts is not None:  # this rank's 4 of 256 experts
                for name, tensor in list(experts.named_parameters()):
                    own = torch.empty(tensor.shape[0] // 64, *tensor.shape[1:], device="meta")
                    setattr(experts, name, torch.nn.Parameter(own))
                fully_shard(experts, mesh=same_experts["parts"])
            fully_shard(layer, mesh=everyone)
        fully_shard(model, mesh=everyone)
        local = sum(p.to_local().numel() for p in model.parameters())
    finally:
        dist.destroy_process_group()
    assert local / 1e9 == pytest.approx(2.62, abs=0.01)
    found = rank_memory(rank(V3, ranks=256, mesh=MeshConfig(expert=64)))
    assert found.elements == pytest.approx(local, rel=0.01)


def shape(run: RankRun, engine: EngineConfig | None = None, context: int = 4096) -> RunShape:
    return RunShape(run.config, run, engine, "bfloat16", context)


GPU_24 = Machine(1, 24 * GIB, "RTX 4090")


def test_a_full_1p5b_policy_does_not_fit_24_gb_and_the_cheapest_keys_are_named() -> None:
    run = shape(rank(), EngineConfig())
    text = problem(run, GPU_24)
    assert text is not None
    for part in ("an update needs about", "RTX 4090", "24.0 GiB", "moments 11.5 GiB", "saves"):
        assert part in text
    found = savings(run, GPU_24)
    assert len(found) == 3
    by_text = {s.text: s.bytes for s in savings(run, GPU_24)}
    assert by_text['optimizer.moments = "bfloat16"'] == pytest.approx(4 * 1.5437e9, rel=0.01)
    with_adapters = shape(rank(lora=16, recompute=True), EngineConfig())
    assert problem(with_adapters, GPU_24) is None


def test_near_the_limit_a_run_is_warned_of_and_not_refused() -> None:
    run = shape(rank(), EngineConfig())
    needed = worst(run, GPU_24).bytes
    for limit, refused, warned in (
        (needed * 0.85, True, False),
        (needed * 0.95, False, True),
        (needed * 1.05, False, False),
    ):
        machine = Machine(1, limit, "GPU")
        assert (problem(run, machine) is not None) == refused
        assert (warning(run, machine) is not None) == warned


def test_engine_and_rank_take_turns_only_where_gpus_are_short() -> None:
    run = shape(rank(ranks=2), EngineConfig(workers=2))
    assert takes_turns(run, 2)
    assert not takes_turns(run, 4)
    assert [d.place for d in demands(run, Machine(4, 80 * GIB))] == ["GPU of a rank", "GPU of an engine"]
    (shared,) = demands(run, Machine(2, 80 * GIB))
    assert shared.place == "GPU of an engine and a rank"


def test_an_engine_needs_room_for_its_weights_and_the_longest_sequence() -> None:
    engine = EngineConfig(tensor_parallel=1)
    big = RunShape(CONFIGS["Qwen/Qwen2.5-32B"], None, engine, "bfloat16", 32768)
    text = problem(big, Machine(8, 24 * GIB, "RTX 4090"))
    assert text is not None
    assert "engine weights 61" in text
    assert "engine.tensor_parallel = 2" in text
    (found,) = demands(big, Machine(8, 80 * GIB, "H100"))
    assert found.kinds["cache"] == 2 * 2 * 8 * 128 * 64 * 32768


def test_a_machine_without_gpus_holds_everything_at_once() -> None:
    config = tiny_config("tiny-v3", vocab_size=48).to_dict()
    run = RankRun(config, LearnerConfig(ranks=2), OptimizerConfig(), device="cpu", dtype="float32")
    (found,) = demands(RunShape(config, run, EngineConfig(workers=2), "float32"), Machine(0, 24 * GIB))
    assert found.kinds["cache"] == 2 * GIB
    assert found.bytes < 6 * GIB
    assert found.kinds["process"] == 2 * rank_memory(run).kinds["update"]["process"] - 150 * MIB
    many = RankRun(config, LearnerConfig(ranks=60), OptimizerConfig(), device="cpu", dtype="float32")
    fewer = savings(RunShape(config, many, None, "float32"), Machine(0, 12 * GIB))
    assert ("learner.ranks = 1", True) in [(s.text, s.fits) for s in fewer]
    assert problem(RunShape(config, run, EngineConfig(workers=2), "float32"), Machine(0, 2 * GIB)) is not None


@given(
    st.sampled_from(["tiny-v3", "tiny-v2", "tiny-llama", "tiny-qwen2"]),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(64, 8192),
    st.booleans(),
    st.sampled_from(["cpu", "cuda"]),
)
def test_no_knob_is_named_for_nothing(
    preset: str, ranks: int, tokens: int, recompute: bool, device: str
) -> None:
    config = tiny_config(preset, vocab_size=48).to_dict()
    learner = LearnerConfig(ranks=ranks, tokens_per_micro_batch=tokens, recompute=recompute)
    run = shape(RankRun(config, learner, OptimizerConfig(), device=device), EngineConfig(kv_cache_gib=4.0))
    machine = Machine(8 if device == "cuda" else 0, GIB)
    before = worst(run, machine)
    for saving in savings(run, machine):
        assert 0 < saving.bytes < before.bytes
    assert all(
        set(rank_memory(k.shape.rank).kinds) == set(MOMENTS) for k in knobs(run, machine) if k.shape.rank
    )
