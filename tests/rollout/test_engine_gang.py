"""An engine over two processes (vLLM's external launcher, on CPUs), through Ray, as a run uses it.

The reference is transformers' own forward, which shares no code with the engine.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from transformers import AutoModelForCausalLM

from policies.hf_names import named_tensors
from rollout.actor import RayWorkers, start_worker
from rollout.canary import Canary
from rollout.chunks import make_chunks
from rollout.config import EngineConfig
from rollout.dispatch import Dispatcher
from rollout.errors import StaleEngine, WeightSyncError, WorkersLost
from rollout.publication import Publication
from rollout.transport.sender import publish
from rollout.transport.stores import SharedMemory
from rollout.types import Prompt, SampleGroup, SamplingParams
from rollout.weight_folders import WeightFolders
from tests.rollout.families import VOCABULARY, policy, save
from tests.rollout.local_ray import start_ray

pytestmark = [pytest.mark.ray, pytest.mark.engine, pytest.mark.slow]
CONFIG = EngineConfig(
    dtype="float32", threads=1, kv_cache_gib=0.1, max_sequences=16, max_model_len=256, tensor_parallel=2
)
RNG = np.random.default_rng(0)
PROMPTS = [tuple(int(i) for i in RNG.integers(2, VOCABULARY, n)) for n in (5, 17, 40)]
TOLERANCE = 1e-4


@dataclass
class Gang:
    """A dispatcher over one engine of two processes, and the policy that it has loaded as version 3."""

    pool: RayWorkers
    dispatcher: Dispatcher
    reference: Any
    tensors: dict[str, torch.Tensor]
    store: SharedMemory
    shared_memory_before: set[str]

    def weights(self, version: int, **changes: Any) -> Publication:
        return publish(changes.pop("tensors", self.tensors), version, store=self.store, **changes)

    def sample(self, version: int, name: str, tokens: int = 20) -> list[SampleGroup]:
        prompts = [Prompt(f"p{i}", "", ids, None) for i, ids in enumerate(PROMPTS)]
        (chunk,) = make_chunks(prompts, name, 0, version, SamplingParams(max_tokens=tokens), 4, len(prompts))
        # Seeds of their own, since those of a chunk depend on its name and version.
        seeds = tuple(tuple(range(4 * i, 4 * i + 4)) for i in range(len(prompts)))
        return list(self.dispatcher.generate([replace(chunk, seeds=seeds)]))


def shared_memory() -> set[str]:
    """Names of the memory that vLLM's processes share on this machine: of activations and of messages."""
    return {file.name for pattern in ("*-cpushm_*", "psm_*") for file in Path("/dev/shm").glob(pattern)}


@torch.no_grad()
def logprobs(model: Any, token_ids: tuple[int, ...]) -> np.ndarray:
    """(n-1,) log-probs of tokens 1 … by a plain forward."""
    ids = torch.tensor([token_ids])
    rows = model(ids).logits[0, :-1].float().log_softmax(-1)
    return rows.gather(1, ids[0, 1:, None])[:, 0].numpy()


@pytest.fixture(scope="module")
def gang(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gang]:
    before = shared_memory()
    start_ray()
    folder = save(policy("tiny-v3", 1), tmp_path_factory.mktemp("policy"))
    pool = RayWorkers(lambda _: start_worker(folder, CONFIG, takes_turns=True), 1, 120.0)
    dispatcher = Dispatcher(pool, restart_limit=0, chunk_timeout_s=120)
    trained = policy("tiny-v3", 2)
    store = SharedMemory(WeightFolders([tmp_path_factory.mktemp("wire")]))
    tensors = {name: tensor.clone() for name, tensor in named_tensors(trained)}
    reference = AutoModelForCausalLM.from_pretrained(
        save(trained, tmp_path_factory.mktemp("trained")),
        attn_implementation="eager",
        dtype=torch.float32,
        experts_implementation="eager",
    ).eval()
    canary = [Canary(ids, logprobs(reference, ids)) for ids in PROMPTS]
    started = Gang(pool, dispatcher, reference, tensors, store, before)
    dispatcher.load(started.weights(3, canary=canary))
    yield started
    pool.close()
    ray.shutdown()


def test_nothing_of_the_engine_has_a_name_in_shared_memory_that_a_kill_would_leave(gang: Gang) -> None:
    assert shared_memory() - gang.shared_memory_before == set()


def test_the_processes_compute_together_what_transformers_does_alone(gang: Gang) -> None:
    # The canary of the load has compared the prompts' log-probs on both ranks already.
    groups = gang.sample(3, "calm")
    assert len(groups) == len(PROMPTS)
    for group in groups:
        prompt = group.prompt.token_ids
        for sample in group.samples:
            whole = (*prompt, *(int(i) for i in sample.token_ids))
            expected = logprobs(gang.reference, whole)[len(prompt) - 1 :]
            assert np.abs(sample.logprobs - expected).max() < TOLERANCE
    again = gang.sample(3, "again")
    assert [[s.token_ids.tolist() for s in g.samples] for g in sorted(again, key=lambda g: g.prompt.id)] == [
        [s.token_ids.tolist() for s in g.samples] for g in sorted(groups, key=lambda g: g.prompt.id)
    ]


def test_an_engine_that_has_slept_samples_again_after_a_load_alone(gang: Gang) -> None:
    before = gang.sample(3, "before")
    gang.dispatcher.sleep()
    with pytest.raises(StaleEngine):
        gang.sample(3, "asleep")
    gang.dispatcher.load(gang.weights(4))
    after = gang.sample(4, "after")
    tokens = [{g.prompt.id: [s.token_ids.tolist() for s in g.samples] for g in x} for x in (before, after)]
    assert tokens[0] == tokens[1], "the same weights and seeds sample other tokens after a sleep"


def test_an_error_of_the_sync_reaches_the_driver_with_the_tensors_name(gang: Gang) -> None:
    name = "model.layers.2.self_attn.o_proj.weight"
    tensors = {n: t for n, t in gang.tensors.items() if n != name}
    with pytest.raises(WeightSyncError, match=r"model\.layers\.2\.self_attn\.o_proj got 0 of"):
        gang.dispatcher.load(gang.weights(5, tensors=tensors))
    gang.dispatcher.load(gang.weights(6))
    assert gang.sample(6, "loaded again")


def test_the_death_of_one_process_ends_the_engine_and_nobody_waits_for_ever(gang: Gang) -> None:
    """Last in the file: the engine is gone afterwards."""
    second = gang.pool.parts(0)[1]
    pid = ray.get(second.start.remote(None), timeout=30)["pid"]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkersLost, match="worker 0"):
        gang.sample(6, "lost", tokens=200)
