"""From prompts to scored groups: what one phase, or one evaluation, samples.

    sample_and_score   one request: G completions of each prompt, scored while the others are still generated
    collect_phase      the groups of a phase; with dynamic sampling, in several rounds of requests

The rollout and reward workers stand behind two protocols; `grpo.cluster.handles` implements them over Ray.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from data_recipes.prompts.mixed_stream import MixedStream
from grpo.config.algorithm import AlgorithmConfig
from grpo.tracking.phase_metrics import has_variance
from rewards.types import ScoredGroup
from rollout.chunks import make_chunks
from rollout.publication import Publication
from rollout.types import Prompt, RolloutChunk, SampleGroup, SamplingParams

Ticket = TypeVar("Ticket")
"""What stands for a scoring that has been started, e.g. an object reference of Ray."""


def nothing(*_: object) -> None:
    """Do nothing: the callback of a caller that has none."""


class PartClock:
    """Wall time by part of a phase: rollout, reward, old_ref, learn, sync, eval."""

    def __init__(self, on_part: Callable[[str], None] = nothing) -> None:
        """Begin with no time; `on_part` is called with the part that begins, and with "" when it has ended."""
        self.seconds: dict[str, float] = {}
        self._on_part = on_part

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the block's wall time to `seconds[name]`. Parts do not nest, but for what `eval` samples."""
        self._on_part(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            self._on_part("")


class Rollouts(Protocol):
    """The rollout workers, seen from the loop."""

    def generate(self, chunks: Sequence[RolloutChunk]) -> Iterator[SampleGroup]:
        """Yield every group of every chunk exactly once, in any order, as they finish."""

    def sleep(self) -> None:
        """Leave the memory of shared devices to the learner; the next call is `load`."""

    def load(self, publication: Publication) -> None:
        """Load a version into all workers.

        Raises:
            WeightSyncError: digests or canary do not prove that a worker holds it.
        """


class Rewards(Protocol[Ticket]):
    """The reward workers, seen from the loop."""

    def submit(self, groups: Sequence[SampleGroup], stage: str, step: int) -> Ticket:
        """Start scoring, and return without waiting for it."""

    def collect(self, tickets: Sequence[Ticket]) -> list[ScoredGroup]:
        """Wait for the scored groups of all tickets."""


@dataclass(frozen=True)
class SampleRequest:
    """What to sample: `group_size` completions of each prompt, by one version of the policy."""

    name: str
    """Unique within a run, e.g. "train/12/0"; part of chunk ids and seeds."""
    stage: str
    """"rl" or "eval"; passed to the rewards."""
    prompts: Sequence[Prompt]
    group_size: int
    version: int
    """Updates done."""
    sampling: SamplingParams


@dataclass(frozen=True)
class Samplers(Generic[Ticket]):
    """Who samples and scores, and what the chunks of a run have in common."""

    rollouts: Rollouts
    rewards: Rewards[Ticket]
    seed: int
    """The run's."""
    chunk_groups: int
    """Prompts per chunk, `engine.chunk_groups`."""


@dataclass(frozen=True)
class Collected:
    """The groups of one phase."""

    groups: tuple[ScoredGroup, ...]
    """Those that go on to training, in the order in which they were drawn."""
    discarded: tuple[ScoredGroup, ...]
    """Those that dynamic sampling drew and left out."""
    rounds: int
    """Requests made; 1 without dynamic sampling."""
    cursor: int
    """Of the stream, after all that was drawn."""

    @property
    def sampled(self) -> tuple[ScoredGroup, ...]:
        """Every group that was paid for, whether it trains or not."""
        return (*self.groups, *self.discarded)


def collect_phase(
    *,
    samplers: Samplers[Ticket],
    stream: MixedStream,
    cursor: int,
    step: int,
    algorithm: AlgorithmConfig,
    sampling: SamplingParams,
    spent: PartClock,
) -> Collected:
    """Draw, sample and score questions_per_step × mini_batches groups.

    With `algorithm.dynamic_sampling` (DAPO, 2503.14476 §3.2) a group whose rewards are all equal, or that has no
    verdict, is discarded, and the next round draws one prompt for each group that is missing. The last of
    `dynamic_sampling_max_rounds` discards nothing: its groups fill the phase up to its full size with or without
    variance, so that denominators and the KL term never shrink; `algorithm.zero_variance = "drop"` leaves them out.

    Args:
        samplers: who samples.
        stream: the prompts.
        cursor: of the stream, before the phase.
        step: updates done; version of the policy that samples.
        algorithm: sizes of the phase, and dynamic sampling.
        sampling: how to sample.
        spent: seconds by part of the phase; this adds "rollout" and "reward".
    """
    wanted = algorithm.questions_per_step * algorithm.mini_batches
    most = algorithm.dynamic_sampling_max_rounds if algorithm.dynamic_sampling else 1
    kept: list[ScoredGroup] = []
    discarded: list[ScoredGroup] = []
    rounds = 0
    while len(kept) < wanted:
        prompts, cursor = stream.draw(cursor, wanted - len(kept), step)
        request = SampleRequest(
            name=f"train/{step}/{rounds}",
            stage="rl",
            prompts=prompts,
            group_size=algorithm.group_size,
            version=step,
            sampling=sampling,
        )
        rounds += 1
        for scored in sample_and_score(request, samplers, spent):
            (kept if rounds == most or has_variance(scored) else discarded).append(scored)
    return Collected(tuple(kept), tuple(discarded), rounds, cursor)


def sample_and_score(
    request: SampleRequest, samplers: Samplers[Ticket], spent: PartClock
) -> list[ScoredGroup]:
    """Sample and score, overlapped: a finished group is scored while others are generated.

    Returns:
        The scored groups in the order of the prompts. `spent` gets "rollout" and "reward", seconds.
    """
    chunks = make_chunks(
        request.prompts,
        name=request.name,
        run_seed=samplers.seed,
        policy_version=request.version,
        sampling=request.sampling,
        group_size=request.group_size,
        chunk_groups=samplers.chunk_groups,
    )
    with spent.part("rollout"):
        tickets = [
            samplers.rewards.submit([group], request.stage, request.version)
            for group in samplers.rollouts.generate(chunks)
        ]
    with spent.part("reward"):
        scored = samplers.rewards.collect(tickets)
    # A prompt may come twice in a phase (epoch border); the seed of its first sample tells the two apart.
    by_key = {_key(s.group): s for s in scored}
    return [by_key[(p.id, seeds[0])] for c in chunks for p, seeds in zip(c.prompts, c.seeds, strict=True)]


def _key(group: SampleGroup) -> tuple[str, int]:
    return group.prompt.id, group.samples[0].seed
