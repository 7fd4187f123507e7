"""Parses the driver's report of a program's calls from the bytes that it wrote. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any  # Any: values that a program returned

from rewards.code.data import NotPlain, decode_at

SHOWN_CHARS = 120


@dataclass(frozen=True)
class Answer:
    """The result of one call of the program, as the driver reports it."""

    kind: str
    """"value", "raised", "died", or "unloadable" for a program that raised before its first call."""
    parts: tuple[Any, ...]
    """(encoded result, encoded arguments after the call or None), (class names, message) or (reason,)."""

    def shown(self) -> str:
        """Return a short text for a reader of the samples."""
        if self.kind in ("raised", "unloadable"):
            return f"raised {self.parts[0][0]}: {self.parts[1]}"[:SHOWN_CHARS]
        return str(self.parts[0])[:SHOWN_CHARS]


def frames(data: bytes, count: int) -> list[Answer]:
    """Return the driver's frames up to the first one out of order; frames that a program forged count as its own
    results."""
    answers: list[Answer] = []
    at = 0
    while at < len(data) and len(answers) < count:
        try:
            frame, at = decode_at(data, at)
            answer = _answer(frame, len(answers))
        except NotPlain:
            break
        if answer is None or (answers and answer.kind == "unloadable"):
            break
        answers.append(answer)
        if answer.kind == "unloadable":
            break
    return answers


def _answer(frame: object, number: int) -> Answer | None:
    match frame:
        case (int() as at, "value", bytes() as result, (bytes() | None) as after) if at == number:
            return Answer("value", (result, after))
        case (int() as at, "raised", list() as names, str() as message) if at in (number, -1):
            clean = [name for name in names if isinstance(name, str)] or ["Exception"]
            return Answer("raised" if at == number else "unloadable", (clean, message))
    return None
