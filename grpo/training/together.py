"""A folder that several ranks write together, all or nothing: each its own files, beside the final name, then renamed.

    write_folder(target, building, write=…, finish=…, team=team)       all ranks call it with the same arguments

A rank whose disk fails lets the others end, and all raise.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from grpo.common.errors import RunError
from policies.files import replace_folder, sync_tree


class Team(Protocol):
    """The ranks that write together."""

    @property
    def rank(self) -> int:
        """Return this rank's number."""

    @property
    def ranks(self) -> int:
        """Return how many there are."""

    def any_failed(self, failed: bool) -> bool:
        """Wait for all ranks; returns True if one of them failed."""


@dataclass(frozen=True)
class Alone:
    """A team of one."""

    rank: int = 0
    ranks: int = 1

    def any_failed(self, failed: bool) -> bool:
        """Return what was given."""
        return failed


def write_folder(
    target: Path,
    building: Path,
    *,
    write: Callable[[Path], None],
    finish: Callable[[Path], None],
    team: Team,
) -> None:
    """Write a folder; it replaces an earlier one of its name.

    Args:
        target: the final name, on a file system that all ranks share.
        building: a name beside it, whose left-overs go.
        write: puts this rank's files into `building`; may talk to the other ranks.
        finish: what the first rank adds when all files are there.
        team: the ranks.

    Raises:
        RunError: another rank failed, or this one does not see the folder.
        Exception: what this rank's `write` or `finish` raised.
    """
    is_first = team.rank == 0

    def begin() -> None:
        if is_first:
            building.parent.mkdir(parents=True, exist_ok=True)
            if building.exists():
                shutil.rmtree(building)
            building.mkdir()

    def look() -> None:
        if not building.is_dir():
            raise RunError(
                f"rank {team.rank} does not see {building}; run_dir must be on a file system that all nodes share"
            )

    def end() -> None:
        if is_first:
            finish(building)
            sync_tree(building)
            replace_folder(building, target)

    for phase in (begin, look, lambda: write(building), end):
        failure: Exception | None = None
        try:
            phase()
        except Exception as error:
            failure = error
        except BaseException:
            if is_first:
                shutil.rmtree(building, ignore_errors=True)
            raise
        if team.any_failed(failure is not None):
            if is_first:
                shutil.rmtree(building, ignore_errors=True)
            raise failure or RunError(
                f"another rank could not write its part of {target}; its error says why"
            )
