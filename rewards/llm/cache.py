"""Answers on disk, one file each, by the content of what was asked; and the record of what was spent.

    CACHE/3f/3f9c….json     {"asked": {…}, "answer": {…}}: appears whole or not at all, readable by people
    CACHE/spent.jsonl       one line an attempt: {"requests": 1, "tokens": 812}; appended, read by all processes

Files and not a database: several processes and hosts may share the folder, also over a network file system.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import TypeVar

from policies.files import replacing
from policies.json_types import JsonDict, JsonMapping
from rewards.llm.errors import BudgetSpent
from rewards.llm.types import Answer

logger = logging.getLogger(__name__)
ValueT = TypeVar("ValueT")


class Answers:
    """The answers of a folder, which is made with the first one: who only checks a config leaves nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, asked: JsonMapping) -> Answer | None:
        """Return the stored answer, None if there is none; a damaged file counts as none and is reported."""
        path = self._path(asked)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            answer = json.loads(text)["answer"]
            return Answer(
                text=_of(str, answer["text"]),
                finish_reason=_of(str, answer["finish_reason"]),
                prompt_tokens=_of(int, answer["prompt_tokens"]),
                completion_tokens=_of(int, answer["completion_tokens"]),
                is_cached=True,
            )
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("%s is damaged (%s); its question is asked again", path, error)
            return None

    def store(self, asked: JsonMapping, answer: Answer) -> None:
        """Write an answer, durably."""
        path = self._path(asked)
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {key: value for key, value in vars(answer).items() if key != "is_cached"}
        line = json.dumps({"asked": dict(asked), "answer": kept})  # ASCII: lone surrogates survive
        with replacing(path) as temporary:
            temporary.write_text(line + "\n", encoding="ascii")

    def _path(self, asked: JsonMapping) -> Path:
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode("ascii")).hexdigest()
        return self._folder / key[:2] / f"{key}.json"


class Spent:
    """What all runs with a cache have spent, against a budget.

    Args:
        folder: the cache.
        requests, tokens: the budget; None: no limit.
    """

    def __init__(self, folder: Path, requests: int | None, tokens: int | None) -> None:
        self._path = folder / "spent.jsonl"
        self._limits = {"requests": requests, "tokens": tokens}
        self.total = {"requests": 0, "tokens": 0}
        """So far, by all processes, as of the last `reserve`."""
        self._in_flight = 0
        self._read = 0

    def reserve(self) -> None:
        """Take one request from the budget before it is sent; `settle` gives what it cost.

        Raises:
            BudgetSpent: nothing is left.
        """
        self._catch_up()
        expected = {"requests": self.total["requests"] + self._in_flight, "tokens": self.total["tokens"]}
        for name, limit in self._limits.items():
            if limit is not None and expected[name] >= limit:
                raise BudgetSpent(
                    f"budget_{name} = {limit:,} is used up ({self.total[name]:,} spent so far, {self._path}); the "
                    "answers so far are kept: raise it and run the same again"
                )
        self._in_flight += 1

    def settle(self, tokens: int) -> None:
        """Record a reserved request and the tokens it took, 0 if it has no answer."""
        self._in_flight -= 1
        line = json.dumps({"requests": 1, "tokens": tokens}) + "\n"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab", buffering=0) as file:
            file.write(line.encode())  # one write to the end of the file: other processes' lines stay whole

    def _catch_up(self) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except FileNotFoundError:
            return
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                row: JsonDict = json.loads(line)
                for name in self.total:
                    self.total[name] += int(row[name])
            except (ValueError, KeyError, TypeError):
                logger.warning("%s: a line cannot be read and does not count: %r", self._path, line[:80])


def _of(kind: type[ValueT], value: object) -> ValueT:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
