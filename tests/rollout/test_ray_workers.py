"""Real Ray, real engines: a worker killed in mid-chunk costs nothing but time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import ray

from policies.hf_names import named_tensors
from rollout.actor import RayWorkers, start_worker
from rollout.chunks import make_chunks
from rollout.config import EngineConfig
from rollout.dispatch import Dispatcher
from rollout.errors import RolloutError, WeightSyncError
from rollout.publication import Head, Publication, Tail, Window
from rollout.transport.object_store import ObjectStore
from rollout.transport.sender import publish
from rollout.transport.stores import SharedMemory
from rollout.types import Prompt, SampleGroup, SamplingParams
from rollout.weight_folders import WeightFolders
from tests.rollout.families import VOCABULARY, policy, save
from tests.rollout.local_ray import start_ray

pytestmark = [pytest.mark.ray, pytest.mark.engine]
CONFIG = EngineConfig(dtype="float32", threads=1, kv_cache_gib=0.1, max_sequences=16)
SYNC_TIMEOUT_S = 120.0
WINDOW_BYTES = 2**18


@dataclass(frozen=True)
class Broken:
    """A publication of which the last window is damaged in its file."""

    publication: Publication
    file: Path
    version = 5

    def begin(self, readers: Sequence[str], *, with_canary: bool = True) -> Head:
        return self.publication.begin(readers, with_canary=with_canary)

    def windows(self, wait: Callable[[int], None]) -> Iterator[Window]:
        for window in self.publication.windows(wait):
            with self.file.open("r+b") as file:
                file.seek(window.place.start + window.entries[-1].start)
                (byte,) = file.read(1)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte ^ 1]))
            yield window

    def finish(self) -> Tail:
        return self.publication.finish()


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    start_ray()
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(policy("tiny-v3", 1), tmp_path_factory.mktemp("policy"))


def bits(found: dict[tuple[str, str], SampleGroup]) -> dict[tuple[str, str], list[tuple[bytes, bytes]]]:
    return {
        key: [(s.token_ids.tobytes(), s.logprobs.tobytes()) for s in group.samples]
        for key, group in found.items()
    }


@pytest.mark.slow
def test_a_worker_killed_in_mid_chunk_loses_and_repeats_nothing(
    cluster: None, model_dir: Path, tmp_path: Path
) -> None:
    tensors = dict(named_tensors(policy("tiny-v3", 2)))
    shared = SharedMemory(WeightFolders([tmp_path]), WINDOW_BYTES)
    pool = RayWorkers(lambda worker: start_worker(model_dir, CONFIG), 2, SYNC_TIMEOUT_S)
    dispatcher = Dispatcher(pool, restart_limit=1, chunk_timeout_s=120)
    rng = np.random.default_rng(0)
    prompts = [
        Prompt(f"p{i}", "", tuple(int(t) for t in rng.integers(2, VOCABULARY, 20)), None) for i in range(16)
    ]
    sampling = SamplingParams(max_tokens=60)
    try:
        reports = dispatcher.load(publish(tensors, 3, store=shared, window_bytes=WINDOW_BYTES))
        assert [report.version for report in reports] == [3, 3]
        calm = make_chunks(prompts, "calm", 0, 3, sampling, 4, 8)
        quiet = {(chunk, g.prompt.id): g for chunk, g in dispatcher.run(calm)}
        assert len(quiet) == 16

        found: dict[tuple[str, str], SampleGroup] = {}
        storm = [replace(chunk, id=chunk.id.replace("calm", "storm")) for chunk in calm]
        for chunk, group in dispatcher.run(storm):
            key = (chunk.replace("storm", "calm"), group.prompt.id)
            assert key not in found, "a group was delivered twice"
            found[key] = group
            if len(found) == 1:
                os.kill(pool.info[0]["pid"], signal.SIGKILL)
        assert bits(found) == bits(quiet), "redone samples are not the ones that were lost"

        rows = [row for row in dispatcher.ledger.rows() if row.chunk.startswith("storm")]
        lost = [row for row in rows if row.state == "lost"]
        assert [row.worker for row in lost] == [0]
        assert "The actor is dead" in lost[0].cause
        assert sum(row.groups for row in rows) == 16
        assert sorted(row.chunk for row in rows if row.state == "done") == ["storm/0", "storm/1"]

        # The restarted worker takes part again; weights may also come through the object store.
        stored = publish(tensors, 4, store=ObjectStore(), window_bytes=WINDOW_BYTES)
        assert [report.version for report in dispatcher.load(stored)] == [4, 4]
        later = make_chunks(prompts, "later", 0, 4, sampling, 4, 4)
        assert len(list(dispatcher.generate(later))) == 16

        # Errors of the request and of the weights arrive as what they are.
        (long,) = make_chunks([Prompt("long", "", (5,) * 2000, None)], "long", 0, 4, sampling, 1, 1)
        with pytest.raises(RolloutError, match=r"prompt long has 2000 tokens"):
            list(dispatcher.generate([long]))
        broken = Broken(
            publish(tensors, 5, store=shared, window_bytes=WINDOW_BYTES), next(tmp_path.rglob("windows"))
        )
        with pytest.raises(WeightSyncError, match="is corrupted"):
            dispatcher.load(broken)
    finally:
        pool.close()


def test_a_folder_that_does_not_load_is_reported_at_once(cluster: None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    pool = RayWorkers(lambda worker: start_worker(tmp_path, CONFIG), 1, SYNC_TIMEOUT_S)
    dispatcher = Dispatcher(pool, restart_limit=5, chunk_timeout_s=60)
    try:
        with pytest.raises(RolloutError, match=str(tmp_path)):
            dispatcher.load(publish({}, 1))
    finally:
        pool.close()
