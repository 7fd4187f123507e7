"""A launch judges its memory before an actor starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from grpo.common import host, nvidia
from grpo.common.errors import ConfigError
from grpo.config.sft import SftConfig
from grpo.memory import launch
from grpo.memory.demand import Machine
from grpo.memory.model import GIB, MIB
from policies.export import save_policy
from policies.presets import new_policy, tiny_config


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return save_policy(
        new_policy(tiny_config("tiny-llama", vocab_size=48), seed=0), tmp_path / "policy", None
    )


def recipe(policy: Path, **more: Any) -> SftConfig:
    return SftConfig.model_validate(
        {"run_dir": "x", "policy": {"model": str(policy)}, "data": {"source": "x.jsonl"}, **more}
    )


def on(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    monkeypatch.setattr(launch, "this_machine", lambda: machine)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_a_run_that_cannot_fit_is_refused_with_the_keys_to_change(
    policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, Machine(0, GIB, "this machine"))
    config = recipe(policy, batch_size=4096, learner={"tokens_per_micro_batch": 200_000})
    with pytest.raises(ConfigError, match=r"cannot fit: an update needs about .* on this machine"):
        launch.check_memory(config, policy, "float32", None)
    with pytest.raises(ConfigError, match=r"learner.recompute = true saves [\d.]+ [GM]iB"):
        launch.check_memory(config, policy, "float32", None)


def test_a_tiny_run_fits_and_says_what_it_needs(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on(monkeypatch, Machine(0, 8 * GIB, "this machine"))
    launch.check_memory(recipe(policy), policy, "float32", None)
    assert "memory:" in capsys.readouterr().out


def test_a_cluster_that_stands_is_not_judged_by_this_machine(
    policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, Machine(0, 1.0, "this machine"))
    launch.check_memory(recipe(policy), policy, "float32", "10.0.0.1:6379")


def test_the_smallest_gpu_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "has_gpu", lambda: True)
    gpus = [nvidia.Gpu("H100", "81559 MiB", "580.1", (9, 0)), nvidia.Gpu("L4", "23034 MiB", "580.1", (8, 9))]
    monkeypatch.setattr(nvidia, "query", lambda: gpus)
    assert launch.this_machine() == Machine(2, 23034 * MIB, "L4")
    monkeypatch.setattr(launch, "has_gpu", lambda: False)
    assert launch.this_machine().bytes == host.memory_limit()
