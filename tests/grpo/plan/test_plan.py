"""`grpo plan`: every figure against one computed by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_recipes.config import DatasetConfig
from grpo.common.errors import BrokenRun, ConfigError
from grpo.config.plan import MachineConfig, StagePlan
from grpo.graph.parse import load_graph
from grpo.plan.costs import (
    cut_exponential_scale,
    decode_pass_s,
    engine_capacity,
    forward_s,
    rollout_s,
)
from grpo.plan.estimate import estimate, workload
from grpo.plan.plan import cluster_plan, conclusions, local_conclusions, local_plan, read_rates
from grpo.plan.plan import run as run_plan
from grpo.plan.rates import Observation, Rate, Rates, estimate_seconds, observe, rates
from grpo.stages.workload import Phases, Workload, count_prompts, interpolate
from grpo.training.epochs import BatchPlan
from policies.sizes import SIZES, PolicySize

DENSE = PolicySize(
    total=1e9, active=9e8, routed=0, experts=0, chosen=0, layers=10, hidden=100, heads=4, score_width=50, cache=1000,
    lookup=10**8,
)  # fmt: skip
MACHINE = MachineConfig(
    gpus=4, peak_tflops=100.0, memory_gib=10.0, bandwidth_tb_s=1.0, mfu=0.5, bandwidth_share=0.5, engine_gpus=2,
    engine_memory_share=0.8, layer_latency_us=100.0, tokens_per_pass=1.0, phase_overhead_s=3.0,
)  # fmt: skip


@given(st.floats(1, 1000), st.floats(0.01, 0.45))
def test_the_cut_exponential_has_the_mean(limit: float, share: float) -> None:
    scale = cut_exponential_scale(share * limit, limit)
    points = [(i + 0.5) * limit / 20000 for i in range(20000)]
    assert sum(math.exp(-t / scale) for t in points) * limit / 20000 == pytest.approx(share * limit, rel=1e-3)


def test_lengths_that_all_reach_the_limit() -> None:
    assert math.isinf(cut_exponential_scale(100, 100))
    with pytest.raises(ValueError, match="limit of 10"):
        cut_exponential_scale(11, 10)


def test_a_decoding_step_by_hand() -> None:
    # 9e8 weights and 8 × 500 tokens × 1000 elements, 2 bytes each, at 2 × 0.5e12 bytes/s; 10 layers × 100 µs.
    assert decode_pass_s(DENSE, MACHINE, 8, 500) == pytest.approx(2 * (9e8 + 4e6) / 1e12 + 1e-3)
    # 100,000 sequences: arithmetic decides, 1e5 × (2 × 9e8 + 2 × 10 × 4 × 50 × 0) at 2 × 50e12.
    assert decode_pass_s(DENSE, MACHINE, 1e5, 0) == pytest.approx(1e5 * 1.8e9 / 1e14 + 1e-3)


def test_capacity_by_hand() -> None:
    left = 2 * 10 * 2**30 * 0.8 - 2e9
    assert engine_capacity(DENSE, MACHINE, 100) == pytest.approx(left / (2 * 1000 * 100))
    with pytest.raises(ValueError, match="engine_gpus"):
        engine_capacity(DENSE, MACHINE.model_copy(update={"memory_gib": 0.5}), 100)


def test_equal_lengths_take_as_many_steps() -> None:
    # All 8 samples run to 100 tokens: 4 an engine, 100 steps, and the prompts' own pass.
    expected = sum(decode_pass_s(DENSE, MACHINE, 4, 10 + t + 0.5) for t in range(100))
    prompts = 80 * DENSE.forward_flops(5) / (4 * 100e12 * 0.5)
    assert rollout_s(DENSE, MACHINE, 8, 10, 100, 100) == pytest.approx(expected + prompts, rel=1e-6)


def test_more_than_fits_waits() -> None:
    small = MACHINE.model_copy(update={"memory_gib": 1.26})  # room for few sequences
    batch = engine_capacity(DENSE, small, 110)
    assert batch < 1000
    one, two = (rollout_s(DENSE, small, n, 10, 100, 100) for n in (2000, 4000))
    extra = 1000 * 100 / batch * decode_pass_s(DENSE, small, batch, 60)
    assert two - one == pytest.approx(extra + forward_s(DENSE, small, 2000 * 10, 5), rel=1e-6)


def test_the_batch_empties_as_samples_end() -> None:
    # By hand: 4,000 an engine; the exponential whose mean is 100 under a limit of 2000 has scale 100 (to 1e-6).
    alive = [4000 * math.exp(-(t + 0.5) / 100) for t in range(2000) if t + 0.5 < 100 * math.log(8000)]
    steps = [decode_pass_s(DENSE, MACHINE, max(1.0, n), 10 + t + 0.5) for t, n in enumerate(alive)]
    prompts = forward_s(DENSE, MACHINE, 80000, 5)
    assert rollout_s(DENSE, MACHINE, 8000, 10, 100, 2000) == pytest.approx(sum(steps) + prompts, rel=0.01)


def test_a_long_tail_costs_time_and_mtp_saves_it() -> None:
    even = rollout_s(DENSE, MACHINE, 8, 10, 100, 110)
    tail = rollout_s(DENSE, MACHINE, 8000, 10, 100, 2000)
    assert tail > even
    fast = MACHINE.model_copy(update={"tokens_per_pass": 2.0})
    assert rollout_s(DENSE, fast, 8, 10, 100, 100) < 0.6 * rollout_s(DENSE, MACHINE, 8, 10, 100, 100)


def test_forward_by_hand() -> None:
    assert forward_s(DENSE, MACHINE, 1000, 0) == pytest.approx(1000 * 1.8e9 / (4 * 50e12))


GRAPH = """# for plans
[graph]
run_dir = "run"
[stages.zero]
command = "rl"
recipe = "r1-zero-tiny"
set = { steps = 8, algorithm = { mini_batches = 2, questions_per_step = 3, group_size = 5 }, policy = { model = "Qwen/Qwen2.5-14B" } }
plan = { tokens = 40, prompt_tokens = 10 }
[stages.drawn]
command = "sample"
set = { policy = { model = "{zero.policy}" }, data = { source = "chain", params = { count = 7 } }, samples = 3 }
plan = { tokens = 20 }
[stages.tuned]
command = "sft"
set = { policy = { model = "{zero.policy}" }, data = { source = "x.jsonl" }, batch_size = 4, epochs = 3 }
plan = { examples = 10, tokens = 30 }
[stages.seen]
command = "eval"
recipe = "r1-zero-tiny"
set = { policy = { model = "{tuned.policy}" } }
"""  # noqa: E501


def graph(tmp_path: Path, more: str = "", *overrides: str) -> Any:
    path = tmp_path / "g.toml"
    path.write_text(GRAPH + more)
    return load_graph(str(path), overrides)


def test_workloads_by_hand(tmp_path: Path) -> None:
    nodes = graph(tmp_path).nodes
    zero = workload(nodes["zero"])
    assert (zero.steps, zero.prompts, zero.samples, zero.generated) == (8, 4096, 4 * 30, 4 * 30 * 40)
    assert zero.phases == (Phases(4, 30, 40, 64),)
    assert zero.trained == 4 * 30 * 40 + 4 * 6 * 10, "a prompt once a group"
    assert zero.passes == 2
    ended = workload(graph(tmp_path, "", "zero.token_budget=2401").nodes["zero"])
    assert (ended.steps, ended.generated) == (6, 3 * 30 * 40), "30 × 40 tokens a phase of two updates"
    assert workload(graph(tmp_path, "", "zero.token_budget=99999").nodes["zero"]) == zero
    drawn = workload(nodes["drawn"])
    assert (drawn.prompts, drawn.samples, drawn.generated) == (7, 21, 420)
    tuned = workload(nodes["tuned"])
    assert (tuned.steps, tuned.trained) == (8, 3 * 10 * 30), "epochs are laid end to end"
    assert tuned.steps == BatchPlan([1.0] * 10, 4, 3, None, 0).steps
    cut = workload(graph(tmp_path, "", "tuned.max_steps=2").nodes["tuned"])
    assert (cut.steps, cut.trained) == (2, 2 * 4 * 30)
    assert workload(nodes["seen"]).generated == 0, "no length known"
    assert workload(nodes["seen"], 12.0).generated == 256 * 16 * 12


@pytest.mark.parametrize(
    ("data", "count"),
    [
        ({"source": "chain"}, 4096),
        ({"source": "code-tiny", "params": {"count": 9}}, 9),
        ({"source": "r1-world", "params": {"math": 5, "safety": 2}}, 7),
        ({"source": "reasoning-gym:chain_sum"}, 2048),
        ({"source": "reasoning-gym:chain_sum", "params": {"count": 12}, "limit": 3}, 3),
        ({"source": "a/b", "limit": 8}, 8),
        ({"source": "a/b"}, None),
    ],
)
def test_prompts_are_counted_without_reading_them(data: dict[str, Any], count: int | None) -> None:
    assert count_prompts([DatasetConfig.model_validate(data)], StagePlan()) == count


def test_lengths_and_limits_change_by_step(tmp_path: Path) -> None:
    node = graph(
        tmp_path, "", "zero.plan.lengths=[[0, 10], [8, 50]]",
        "zero.sampling.max_tokens_schedule=[{from_step = 4, value = 30}]",
    ).nodes["zero"]  # fmt: skip
    phases = workload(node).phases
    assert [p.limit for p in phases] == [64, 64, 30, 30]
    assert [p.mean for p in phases] == [15, 25, 30, 30], "middle of each phase, cut at the limit"
    assert interpolate([(2, 1.0), (4, 3.0)], 3) == 2.0
    assert [interpolate([(2, 1.0), (4, 3.0)], at) for at in (0, 9)] == [1.0, 3.0]
    with pytest.raises(ValueError, match="ascend"):
        StagePlan(lengths=((3, 1.0), (2, 1.0)))


def test_estimate_adds_up(tmp_path: Path) -> None:
    node = graph(tmp_path, "", "zero.learner.recompute=true").nodes["zero"]
    assert workload(node).recompute
    phases = (Phases(4, 30, 40, 64),)
    work = Workload(8, 1, 10, 5, phases, trained=5000, passes=2, recompute=True, mean_context=30)
    found = estimate(work, DENSE, MACHINE)
    one = forward_s(DENSE, MACHINE, 5000, 30)
    assert found.rollout_s == pytest.approx(4 * rollout_s(DENSE, MACHINE, 30, 10, 40, 64))
    assert (found.logprob_s, found.train_s, found.overhead_s) == (2 * one, 4 * one, 12.0)
    assert found.gpu_hours(MACHINE) == pytest.approx(found.seconds * 4 / 3600)


def test_cluster_plan_follows_policies_through_the_graph(tmp_path: Path) -> None:
    more = "[plan.machine]\ngpus = 8\n"
    lines = {line.node.name: line for line in cluster_plan(*_with_machine(graph(tmp_path, more)))}
    assert lines["seen"].size == SIZES["Qwen/Qwen2.5-14B"]
    assert lines["zero"].estimate is not None
    assert lines["seen"].estimate is None
    text = "\n".join(conclusions(list(lines.values()), MachineConfig(gpus=8)))
    assert "without an estimate" in text
    assert "seen" in text


def _with_machine(found: Any) -> tuple[Any, MachineConfig]:
    return found, found.recipe.plan.machine


def test_r1_zero_is_held_against_the_published_hours() -> None:
    found = load_graph("r1")
    machine = found.recipe.plan.machine
    assert machine is not None
    lines = cluster_plan(found, machine)
    zero = next(line for line in lines if line.node.name == "zero")
    assert zero.estimate is not None
    hours = zero.estimate.gpu_hours(machine)
    assert f"{hours / 101000 - 1:+.0%}" in "\n".join(conclusions(lines, machine))
    assert 0.5 < hours / 101000 < 1.5
    assert (zero.work.steps, zero.work.samples) == (10400, 10400 * 512)


def write_run(
    folder: Path, command: str, config: dict[str, Any], summary: dict[str, Any], rows: list[Any]
) -> None:
    folder.mkdir(parents=True)
    state = {"state": "done", "seconds": 100.0, "peak_mib": 50.0, "config": {"stage": command, **config}}
    (folder / "node.json").write_text(json.dumps(state))
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


def test_rates_of_finished_stages_by_hand(tmp_path: Path) -> None:
    phase = {"time/rollout_s": 10.0, "time/learn_s": 5.0, "tokens/rollout": 300.0, "length/mean": 10.0}
    write_run(tmp_path / "zero", "rl", {}, {}, [phase, phase])
    seen = observe(tmp_path / "zero")
    assert seen == Observation("rl", 100.0, 30.0, 600.0, 60.0, 50.0)
    write_run(
        tmp_path / "tuned",
        "sft",
        {"batch_size": 4},
        {"steps": 2},
        [{"time/update_s": 4.0, "tokens/learner": 80.0}],
    )
    known = read_rates(tmp_path)
    assert known.of("zero", "rl") == known.of("other", "rl") == Rate(70.0, 0.05, 10.0, 600.0, 50.0)
    tuned = known.of("tuned", "sft")
    assert tuned == Rate(96.0, 0.05, 10.0, 80.0, 50.0)
    assert known.of("zero", "sft") == tuned, "the name alone does not do"
    assert known.of("zero", "pretrain") is None
    zero = known.by_command["rl"]
    assert estimate_seconds(Workload(phases=(Phases(2, 10, 20, 30),)), zero) == 70.0 + 400 * 0.05
    assert estimate_seconds(Workload(), tuned) == 100.0, "as much as last time"
    (tmp_path / "zero" / "node.json").write_text('{"state": "begun"}')
    assert observe(tmp_path / "zero") is None
    with pytest.raises(ConfigError, match="no finished stage"):
        read_rates(tmp_path / "nothing")


def test_a_stage_that_is_not_whole_has_no_rate_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    summary = {"samples": 12, "tokens": 90, "tokens_per_s": 3.0}
    write_run(tmp_path / "e", "eval", {}, summary, [])
    assert observe(tmp_path / "e") == Observation("eval", 100.0, 30.0, 90.0, 12.0, 50.0)
    (tmp_path / "e" / "summary.json").unlink()
    assert observe(tmp_path / "e") is None
    for name in ("node.json", "metrics.jsonl"):
        before = (tmp_path / "e" / name).read_text()
        (tmp_path / "e" / name).write_text("{bad")
        with pytest.raises(BrokenRun, match=rf"{name} is damaged .*delete .*e to run the stage again"):
            observe(tmp_path / "e")
        (tmp_path / "e" / name).write_text(before)


def test_machines_and_lengths_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="an engine of engine_gpus = 16 does not fit in gpus = 8"):
        MachineConfig(gpus=8, engine_gpus=16)
    with pytest.raises(ValidationError, match="a mean length is above 0"):
        StagePlan(lengths=((0, -1.0),))
    with pytest.raises(ConfigError, match=r"stage cold-samples: a mean of 99999 tokens .* limit of 32768"):
        run_plan(load_graph("r1", ["cold-samples.plan.tokens=99999"]), None)


def test_rates_are_a_mean_over_stages() -> None:
    seen = [
        Observation("eval", 10.0, 0.0, 100.0, 10.0, None),
        Observation("eval", 14.0, 0.0, 300.0, 10.0, 7.0),
    ]
    assert rates({"a": seen[0], "b": seen[1]}).by_command["eval"] == Rate(12.0, 0.0, 20.0, 200.0, 7.0)


def test_predicted_against_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"time/rollout_s": 50.0, "tokens/rollout": 1000.0, "length/mean": 10.0}]
    write_run(tmp_path / "run" / "zero", "rl", {}, {}, rows)
    known = Rates({}, {"rl": Rate(20.0, 0.01, 10.0, 1.0, 45.0)}, {})
    line = next(line for line in local_plan(graph(tmp_path), known) if line.node.name == "zero")
    assert line.seconds == pytest.approx(20.0 + 4800 * 0.01)
    assert line.measured is not None
    text = "\n".join(local_conclusions([line], Path("earlier"), Path("run")))
    assert "1.1 minutes predicted, 1.7 measured: error -32%" in text
    assert "45 MiB predicted, 50 measured" in text
    assert "must agree" in "\n".join(local_conclusions([line], Path("run"), Path("run")))
