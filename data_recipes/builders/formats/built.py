"""A row of a public data set in the project's own terms, and what a converter says of one that it leaves out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from data_recipes.sft.decontaminate import words

Kind = Literal["math", "code", "stem", "logic", "open", "general", "safety"]
"""R1's kinds of prompts (table 4), and "open": a reference that no rule compares; recipes choose rewards by them."""


class LeftOut(Exception):
    """A sound row that a rule leaves out; the text is the rule's name in the counts, e.g. "proof"."""


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: str
    """"system", "user" or "assistant"."""
    content: str


@dataclass(frozen=True)
class Built:
    """What a row asks, and what is known of the right reply. None or () where a data set has no such thing."""

    kind: Kind
    question: str
    """The question; of a conversation, the user's last message."""
    before: tuple[Message, ...] = ()
    """The messages before the question."""
    answer: str | None = None
    """The reference answer that a rule compares with."""
    solution: str | None = None
    """A worked solution. It is compared with evaluation sets and not written."""
    completion: str | None = None
    """The reply to learn."""
    choices: tuple[str, ...] = ()
    """The options of a question of multiple choice, A first; the question's text has them too."""
    tests: str | None = None
    """Tests of a program as JSON or code (rewards/code/tests.py)."""
    entry_point: str | None = None
    """The function that the tests call."""
    setup: str | None = None
    """Code that the tests need."""
    programming_language: str | None = None
    correct: tuple[str, ...] = ()
    """Programs known to be right."""
    wrong: tuple[str, ...] = ()
    """Programs known to be wrong."""
    year: int | None = None
    """When a competition set the problem."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation, up to where the reply begins."""
        return (*self.before, Message("user", self.question))

    def texts(self) -> tuple[str, ...]:
        """Return every text that may have been copied from an evaluation set."""
        said = tuple(message.content for message in self.before)
        return (*said, self.question, *(t for t in (self.solution, self.completion) if t is not None))

    def asks(self) -> str:
        """Return a digest of the conversation by its words: equal for the same question in another layout."""
        said = [(message.role, words(message.content)) for message in self.messages]
        return hashlib.sha256(repr(said).encode()).hexdigest()
