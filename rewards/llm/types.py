"""A request to a language model, and its answer.

Request.of("Is 4 even?", system="Answer yes or no.", seed=7)
Answer(text="yes", finish_reason="stop", prompt_tokens=21, completion_tokens=1, is_cached=False)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """A turn of the conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Request:
    """A conversation that the model is to continue. Equal requests have one answer; `seed` tells votes apart."""

    messages: tuple[Message, ...]
    seed: int = 0

    @classmethod
    def of(cls, user: str, system: str | None = None, seed: int = 0) -> Request:
        """Return a request of one turn."""
        before = (Message("system", system),) if system else ()
        return cls((*before, Message("user", user)), seed)

    def votes(self, count: int) -> list[Request]:
        """Return `count` requests that differ in their seed alone: seed, seed + 1, …"""
        return [replace(self, seed=self.seed + vote) for vote in range(count)]


@dataclass(frozen=True)
class Answer:
    """What the model wrote."""

    text: str
    finish_reason: str
    """"stop", "length" or another word of the server's."""
    prompt_tokens: int
    completion_tokens: int
    is_cached: bool
    """True if it came from the cache, not from the server."""
