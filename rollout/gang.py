"""The actors of one engine: one per GPU, which make the same calls. Rank 0's answers count; an error of any is raised.

gang = EngineGang(start_parts(…))
gang.start()                    references; the engine is up when all have an answer
gang.generate(chunk)            rank 0's stream of groups, and what the others return when they are through
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeVar, cast

import ray

from rollout.rendezvous import Rendezvous
from rollout.types import RolloutChunk

AnswerT = TypeVar("AnswerT")


def open_rendezvous() -> Rendezvous:
    """Listen on an address by which actors on all nodes reach this one: localhost if it is alone."""
    return Rendezvous(ray.util.get_node_ip_address())


class RemoteMethod(Protocol[AnswerT]):
    """A method of a Ray actor."""

    def remote(self, *arguments: object) -> ray.ObjectRef[AnswerT]:
        """Start the call; the reference stands for its result."""


class StreamMethod(Protocol):
    """A method of a Ray actor that yields."""

    def options(self, *, num_returns: Literal["streaming"]) -> StreamMethod:
        """Return the method with Ray's options for a call."""

    def remote(self, *arguments: object) -> ray.ObjectRefGenerator:
        """Start the call; returns a reference for each value that it yields."""


class EngineActor(Protocol):
    """A `rollout.actor.RolloutWorker` on Ray."""

    rendezvous_address: RemoteMethod[str]
    start: RemoteMethod[dict[str, int]]
    generate: StreamMethod
    follow: RemoteMethod[None]


class EngineGang:
    """All actors of one engine, rank 0 first."""

    def __init__(self, actors: Sequence[EngineActor]) -> None:
        self.actors = list(actors)

    def start(self) -> list[ray.ObjectRef[dict[str, int]]]:
        """Let the actors meet and start vLLM; returns a reference for each, rank 0 first.

        Rank 0's address goes from actor to actor as a reference, so nothing waits for it here.
        """
        address = self.actors[0].rendezvous_address.remote() if len(self.actors) > 1 else None
        return [actor.start.remote(address) for actor in self.actors]

    def generate(self, chunk: RolloutChunk) -> tuple[ray.ObjectRefGenerator, list[ray.ObjectRef[None]]]:
        """Start a chunk; returns rank 0's stream and a reference for each of the others."""
        first, *others = self.actors
        stream = first.generate.options(num_returns="streaming").remote(chunk)
        return stream, [actor.follow.remote(chunk) for actor in others]

    def kill(self) -> None:
        """End the processes: what one rank knows alone is worth nothing."""
        for actor in self.actors:
            ray.kill(cast("ray.actor.ActorHandle[object]", actor), no_restart=True)
