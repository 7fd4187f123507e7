"""Workers that die, hang and repeat themselves as a test says. Pure control flow, with a clock of its own."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rollout.publication import Publication, SyncReport
from rollout.transport.sender import publish
from rollout.types import Prompt, RolloutChunk, Sample, SampleGroup, SamplingParams
from rollout.worker_pool import Delivered, Died, Event, Failed, Finished, Ready

PUBLICATION = publish({}, 5)


@dataclass(frozen=True)
class Fate:
    """What becomes of one submitted chunk: `after` groups arrive, then it happens."""

    kind: Literal["ok", "die", "hang", "short", "fail"] = "ok"
    after: int = 0


def make_chunk(name: str, prompts: int, group_size: int = 2) -> RolloutChunk:
    return RolloutChunk(
        id=name,
        prompts=tuple(Prompt(f"{name}-p{i}", "", (1,), None) for i in range(prompts)),
        group_size=group_size,
        sampling=SamplingParams(1),
        seeds=tuple(tuple(100 * i + g for g in range(group_size)) for i in range(prompts)),
        policy_version=5,
    )


def make_group(chunk: RolloutChunk, place: int) -> SampleGroup:
    prompt = chunk.prompts[place]
    samples = tuple(
        Sample(prompt.id, g, np.zeros(1, np.int32), np.zeros(1, np.float32), "", "stop", seed, 5, 5)
        for g, seed in enumerate(chunk.seeds[place])
    )
    return SampleGroup(prompt, samples)


class ScriptedPool:
    """`WorkerPool`. Fates are used up in the order of submission; after the last one everything goes well."""

    def __init__(
        self,
        size: int,
        fates: Sequence[Fate] = (),
        starts: Sequence[Literal["ready", "die", "hang", "fail", "no node"]] = (),
        loads: Sequence[Literal["ok", "die"]] = (),
        order_seed: int = 0,
        echo: bool = False,
    ) -> None:
        self.size = size
        self.now = 0.0
        self.deaths = 0
        self.killed: list[int] = []
        self.submitted: list[tuple[int, str]] = []
        self.versions: dict[int, int | None] = {}
        self.sleeps: deque[Literal["ok", "die"]] = deque()
        self.asleep: set[int] = set()
        self._fates, self._starts, self._loads = deque(fates), deque(starts), deque(loads)
        self._random = random.Random(order_seed)
        self._echo = echo
        self._queues: dict[int, deque[Event]] = {w: deque() for w in range(size)}
        self._alive: set[int] = set()
        for worker in range(size):
            self.restart(worker)

    def clock(self) -> float:
        return self.now

    def submit(self, worker: int, ticket: int, chunk: RolloutChunk) -> None:
        assert worker in self._alive, "work for a worker that is not there"
        assert self.versions[worker] == chunk.policy_version, "work for a worker without current weights"
        self.submitted.append((worker, chunk.id))
        fate = self._fates.popleft() if self._fates else Fate()
        order = list(range(len(chunk.prompts)))
        self._random.shuffle(order)
        if fate.kind != "ok":
            order = order[: fate.after]
        events: list[Event] = [Delivered(worker, ticket, make_group(chunk, place)) for place in order]
        if fate.kind in ("ok", "short"):
            events.append(Finished(worker, ticket))
            self.deaths += fate.kind == "short" and len(order) < len(chunk.prompts)
        elif fate.kind == "die":
            events.append(Died(worker, "scripted death"))
        elif fate.kind == "fail":
            events.append(Failed(worker, ticket, ValueError("scripted failure")))
        self.deaths += fate.kind in ("die", "hang")
        self._queues[worker].extend(events)

    def wait(self, timeout_s: float) -> list[Event]:
        ready = [w for w, queue in self._queues.items() if queue]
        if not ready:
            self.now += timeout_s
            return []
        self.now += self._random.random()
        chosen = self._random.sample(ready, self._random.randint(1, len(ready)))
        events = [self._queues[w].popleft() for w in chosen]
        for event in events:
            if isinstance(event, Died):
                self._alive.discard(event.worker)
        return events

    def load(self, workers: Sequence[int], publication: Publication) -> dict[int, SyncReport | Died]:
        answers: dict[int, SyncReport | Died] = {}
        for worker in workers:
            assert worker in self._alive, "weights for a worker that is not there"
            if self._loads and self._loads.popleft() == "die":
                self._alive.discard(worker)
                self.deaths += 1
                answers[worker] = Died(worker, "scripted death while loading")
            else:
                self.asleep.discard(worker)
                self.versions[worker] = publication.version
                answers[worker] = SyncReport(publication.version, 1, 0.0, 0.0, 0.0)
        return answers

    def sleep(self, workers: Sequence[int]) -> dict[int, Died | None]:
        answers: dict[int, Died | None] = {}
        for worker in workers:
            assert worker in self._alive, "sleep for a worker that is not there"
            if self.sleeps and self.sleeps.popleft() == "die":
                self._alive.discard(worker)
                answers[worker] = Died(worker, "scripted death while falling asleep")
            else:
                self.versions[worker] = None
                self.asleep.add(worker)
                answers[worker] = None
        return answers

    def kill(self, worker: int) -> None:
        self.killed.append(worker)
        self._alive.discard(worker)
        if not self._echo:
            self._queues[worker].clear()

    def restart(self, worker: int) -> None:
        assert worker not in self._alive, "a second life for a worker that is not dead"
        assert not self.asleep, "an engine starts while a learner has its turn"
        self.versions[worker] = None
        fate = self._starts.popleft() if self._starts else "ready"
        self.deaths += fate in ("die", "hang")
        if fate == "ready":
            self._alive.add(worker)
            self._queues[worker].append(Ready(worker))
        elif fate == "die":
            self._queues[worker].append(Died(worker, "scripted death at start"))
        elif fate == "no node":
            self._queues[worker].append(Died(worker, "scripted death of a node", ran=False))
        elif fate == "fail":
            self._queues[worker].append(Failed(worker, 0, ValueError("broken folder")))
