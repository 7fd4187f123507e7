"""The update waits for its device a fixed number of times, however many micro-batches and tensors there are.

On a GPU each of these calls stops the host until all kernels that it has started are done. They are counted on a CPU.
"""

from __future__ import annotations

import traceback
from collections import Counter
from pathlib import Path

import pytest
import torch

from grpo.config.algorithm import AlgorithmConfig
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.training.learner import Learner
from tests.grpo.tiny_phase import make_groups, make_policy

WAITS = ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__")
ON_THE_HOST = ("policies/layout.py",)
"""Works on token positions before they move to the device."""
MOST = 12
"""Waits of an update outside of its micro-batches: their number, gradient norm, router loads, loss, metrics."""


def waits(folder: Path, groups: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, Counter[str]]:
    """Return the number of micro-batches of an update, and its calls that wait, by place."""
    learner = Learner(
        policy=PolicyConfig(model=str(folder), compute_dtype="float32"),
        algorithm=AlgorithmConfig(kl_coef=0.1, mini_batches=2),
        optimizer=OptimizerConfig(lr=1e-3),
        learner=LearnerConfig(tokens_per_micro_batch=64, logit_chunk_tokens=16),
        model_path=folder,
        total_steps=9,
    )
    phase = make_groups(0, groups=groups)
    learner.begin_phase(phase, 0, 1.0)
    found: Counter[str] = Counter()
    packs = 0
    backward = learner.trained.backward

    def count_backward(loss: torch.Tensor) -> None:
        nonlocal packs
        packs += 1
        backward(loss)

    monkeypatch.setattr(learner.trained, "backward", count_backward)
    with monkeypatch.context() as patch:
        for name in WAITS:
            patch.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name), name, found))
        learner.update(phase, 0, 16)
    return packs, found


def counted(method: object, name: str, found: Counter[str]) -> object:
    def call(self: torch.Tensor, *arguments: object, **keywords: object) -> object:
        caller = traceback.extract_stack(limit=2)[0].filename
        if not caller.endswith(ON_THE_HOST):
            found[f"{name} in {caller}"] += 1
        return method(self, *arguments, **keywords)  # type: ignore[operator]

    return call


@pytest.mark.parametrize("preset", ["tiny-llama", "tiny-qwen3", "tiny-v3", "mini-v2"])
def test_an_update_waits_as_often_for_many_micro_batches_as_for_few(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_policy(tmp_path / "policy", preset)
    few, of_few = waits(tmp_path / "policy", 2, monkeypatch)
    many, of_many = waits(tmp_path / "policy", 8, monkeypatch)
    assert many >= 3 * few
    assert of_many == of_few
    assert 0 < of_few.total() <= MOST, of_few
