"""Distillation: the paper's rates by size, where they come from, and that the run is SFT with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from grpo.algorithm.schedules import learning_rate
from grpo.common.config_io import load_config
from grpo.config.distill import DistillConfig
from grpo.config.distill_presets import PRESETS, describe, nearest
from grpo.graph.parse import load_graph
from grpo.stages.distill import resolve
from grpo.stages.sft import read_job
from tests.tiny import make_base

SIZES: list[tuple[str, int, str, float]] = [
    # config.json's family, parameters as published, and the paper's row
    ("qwen2", 1_543_714_304, "qwen-1.5b", 1e-4),
    ("qwen2", 7_615_616_512, "qwen-7b", 8e-5),
    ("llama", 8_030_261_248, "llama-8b", 5e-5),
    ("qwen2", 14_770_033_664, "qwen-14b", 7e-5),
    ("qwen2", 32_763_876_352, "qwen-32b", 6e-5),
    ("llama", 70_553_706_496, "llama-70b", 2e-5),
    ("qwen3", 8_190_735_360, "qwen-7b", 8e-5),
    ("llama", 134_515_008, "llama-8b", 5e-5),
    ("deepseek_v3", 671_000_000_000, "llama-70b", 2e-5),
]


@pytest.mark.parametrize(("family", "parameters", "name", "lr"), SIZES)
def test_each_size_gets_the_papers_rate(family: str, parameters: int, name: str, lr: float) -> None:
    assert nearest(family, parameters) == name
    assert PRESETS[name].lr == lr


def test_the_choice_is_printed_with_its_source_and_its_reach() -> None:
    text = describe("qwen-1.5b", False, "qwen2", 1_543_714_304)
    assert "lr 0.0001 as for Qwen2.5-Math-1.5B (2501.12948 v2 §B.4.3)" in text
    assert "first guess" not in text
    far = describe("llama-8b", False, "llama", 134_515_008)
    assert "60 times smaller: take the rate for a first guess" in far
    assert "named by the recipe" in describe("qwen-7b", True, "llama", 8_030_261_248)


def config(model: Path, folder: Path, **keys: Any) -> DistillConfig:
    data = folder / "rows.jsonl"
    data.write_text("".join(f"{json.dumps({'prompt': f' {n}', 'completion': f' {n}'})}\n" for n in range(5)))
    tree = {"run_dir": str(folder), "policy": {"model": str(model)}, "data": {"source": str(data)}}
    return DistillConfig.model_validate_json(json.dumps({**tree, **keys}))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("student"))


def test_the_rate_falls_to_a_tenth_by_a_cosine(student: Path, tmp_path: Path) -> None:
    resolved, reason = resolve(config(student, tmp_path))
    assert (resolved.preset, resolved.batch_size, resolved.max_tokens) == ("qwen-1.5b", 64, 32768)
    assert "qwen-1.5b" in reason
    assert learning_rate(0, 50, resolved.optimizer) == pytest.approx(1e-4)
    assert learning_rate(49, 50, resolved.optimizer) == pytest.approx(1e-5)
    assert resolved == resolve(resolved)[0]
    job, _ = read_job(resolved)
    assert len(job.items) == 5


def test_the_recipe_overrides_rate_and_preset(student: Path, tmp_path: Path) -> None:
    resolved, reason = resolve(config(student, tmp_path, preset="llama-70b"))
    assert resolved.optimizer.lr == 2e-5
    assert "named by the recipe" in reason
    resolved, reason = resolve(config(student, tmp_path, optimizer={"lr": 3e-3, "warmup_steps": 5}))
    assert (resolved.optimizer.lr, resolved.optimizer.warmup_steps) == (3e-3, 5)
    assert reason.startswith("lr 0.003 as the recipe says")
    with pytest.raises(ValidationError):
        config(student, tmp_path, preset="qwen-3b")


def test_the_shipped_recipe_is_the_papers() -> None:
    shipped = load_config(DistillConfig, "r1-distill")
    assert (shipped.batch_size, shipped.epochs, shipped.max_tokens) == (64, 3, 32768)
    assert (shipped.optimizer.schedule, shipped.optimizer.min_lr_ratio, shipped.optimizer.lr) == (
        "cosine",
        0.1,
        None,
    )


def test_the_shipped_graph_leads_from_the_teacher_to_the_student() -> None:
    graph = load_graph("distill", ["student.policy.model=models/mine"])
    assert list(graph.nodes) == ["samples", "rows", "student", "before", "after"]
    student = graph.nodes["student"]
    assert student.parents == ("rows",)
    assert isinstance(student.config, DistillConfig)
    assert (student.config.policy.model, student.config.epochs) == ("models/mine", 3)
    assert student.config.data.source == str(graph.nodes["rows"].output("rows"))
    assert graph.nodes["after"].parents == ("student",)
