"""The actors of one engine: one per GPU, which make the same calls. Rank 0's answers count; an error of any is raised.

gang = EngineGang(start_parts(…))
gang.start()                    references; the engine is up when all have an answer
gang.generate(chunk)            rank 0's stream of groups, and what the others return when they are through
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any  # of Ray's handles and references, which are not typed

import ray

from rollout.types import RolloutChunk


def rendezvous_address() -> str:
    """Return "tcp://host:port", free now, by which actors on all nodes reach this one.

    The host is localhost on a cluster of this machine alone.
    """
    host = ray.util.get_node_ip_address()
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"tcp://{host}:{probe.getsockname()[1]}"


class EngineGang:
    """All actors of one engine, rank 0 first."""

    def __init__(self, actors: Sequence[Any]) -> None:
        self.actors = list(actors)

    def start(self) -> list[Any]:
        """Let the actors meet and start vLLM; returns a reference for each, rank 0 first.

        Rank 0's address goes from actor to actor as a reference, so nothing waits for it here.
        """
        address = self.actors[0].rendezvous_address.remote() if len(self.actors) > 1 else None
        return [actor.start.remote(address) for actor in self.actors]

    def generate(self, chunk: RolloutChunk) -> tuple[Any, list[Any]]:
        """Start a chunk; returns rank 0's stream and a reference for each of the others."""
        first, *others = self.actors
        stream = first.generate.options(num_returns="streaming").remote(chunk)
        return stream, [actor.follow.remote(chunk) for actor in others]

    def kill(self) -> None:
        """End the processes: what one rank knows alone is worth nothing."""
        for actor in self.actors:
            ray.kill(actor, no_restart=True)
