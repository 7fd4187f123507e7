"""The learner ranks of a run, seen from the driver: the same call on each, rank 0's answer.

group = RankGroup(start_ranks(factory, …), run_dir, keep)
group.open()                                  the ranks meet and load the policy
group.call_all("update", batch, step)         what rank 0's learner returned
group.close()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, cast  # Any: what methods called by name return; ray.remote

import ray

from grpo.cluster.actor import LearnerFactory, RankWorker
from grpo.cluster.ray_session import LEARNER_TIMEOUT_S, AnswerT, get
from grpo.cluster.shared_folder import marked
from grpo.common.console import counted, starting
from grpo.common.errors import RunError
from grpo.training.checkpoint import whole_checkpoint
from policies.json_types import JsonMapping
from rollout.gang import RemoteMethod

CLOSE_TIMEOUT_S = 20.0
"""Longest wait for ranks to clean up before they are killed."""
GRACE_S = 20.0
"""Longest wait, after the first error, for the other ranks to report theirs."""


class RankActor(Protocol):
    """A `RankWorker` on Ray."""

    rendezvous_address: RemoteMethod[str]
    why_absent: RemoteMethod[str | None]
    start: RemoteMethod[int]
    call: RemoteMethod[object]
    save: RemoteMethod[Path]
    close: RemoteMethod[None]


def start_ranks(
    make: LearnerFactory, *, seats: Sequence[JsonMapping], threads: int, resume_from: Path | None
) -> list[RankActor]:
    """Start one actor per rank, without waiting for them; `RankGroup.open` has them load.

    Args:
        make: makes the learner on each rank.
        seats: Ray's options for each rank (`ReservedSeats.options`), rank 0 first.
        threads: of each.
        resume_from: checkpoint folder to go on from, as every node sees it.
    """
    ranks = len(seats)
    starting(f"starting {counted(ranks, 'learner')}: {'each' if ranks > 1 else 'it'} loads the policy")
    remote: Any = ray.remote(RankWorker)
    return [
        cast(
            RankActor,
            remote.options(**seat, max_restarts=0).remote(
                make, rank=rank, world_size=ranks, threads=threads, resume_from=resume_from
            ),
        )
        for rank, seat in enumerate(seats)
    ]


class RankGroup:
    """All ranks of a run. Trainers add their own calls in a class of their own, with types."""

    def __init__(self, actors: Sequence[RankActor], run_dir: Path, keep: int) -> None:
        """Args:
        actors: from `start_ranks`, rank 0 first.
        run_dir: its checkpoints/ takes the checkpoints.
        keep: how many of them stay.
        """
        self._actors = list(actors)
        self._checkpoints = (run_dir / "checkpoints").absolute()
        self._keep = keep

    def open(self) -> None:
        """Let the ranks meet, on whichever nodes they are, and load the policy; ends them if they cannot.

        Raises:
            RunError: a rank's node does not have the run's folder, to which all ranks write.
            RunError, PolicyError: what a rank could not load.
        """
        try:
            self._check_folder()
            rendezvous = None
            if len(self._actors) > 1:
                (rendezvous,) = get([self._actors[0].rendezvous_address.remote()], "learner start")
            get([actor.start.remote(rendezvous) for actor in self._actors], "learner start")
        except BaseException:
            self.close()
            raise

    def _check_folder(self) -> None:
        folder = self._checkpoints.parent
        with marked(folder) as marker:
            found = get([actor.why_absent.remote(marker) for actor in self._actors], "learner start")
        reasons = [f"rank {rank}: {reason}" for rank, reason in enumerate(found) if reason is not None]
        if reasons:
            raise RunError(
                f"run_dir {folder} is not one folder for all nodes ({'; '.join(reasons)}); every learner rank writes "
                "its part of a checkpoint there. Set run_dir to a folder on a file system that all nodes mount at the "
                "same path"
            )

    def call_all(self, method: str, *arguments: object) -> Any:
        """Call a method of every rank's learner; returns rank 0's answer.

        Args:
            method: name of the learner's method, which stands for the types of arguments and result.
            arguments: values, or references from `ray.put` for what is large.

        Raises:
            RunError: a rank died or did not answer in time; an error that the learner raised comes as it is.
        """
        return self.start_all(method, *arguments)()

    def start_all(self, method: str, *arguments: object) -> Callable[[], Any]:
        """Start a method of every rank's learner, after the calls before; the result waits for it, as `call_all`."""
        calls = [actor.call.remote(method, *arguments) for actor in self._actors]
        return lambda: _answers(calls, method)[0]

    def save_checkpoint(self, step: int, extra: JsonMapping, protected: Sequence[int]) -> None:
        """Have the ranks write a checkpoint; `extra` and `protected` as in `save_checkpoint`."""
        arguments = (self._checkpoints, step, dict(extra), self._keep, tuple(protected))
        _answers([actor.save.remote(*arguments) for actor in self._actors], "save")

    def export(self, folder: Path, step: int, last: int) -> None:
        """Have the ranks write the policy of a step for transformers and vLLM; for an earlier one it is loaded first.

        Args:
            folder: where to.
            step: updates after which it is wanted.
            last: updates that the ranks have done.

        Raises:
            BrokenRun: the checkpoint of an earlier step is missing or damaged.
        """
        if step != last:
            self.call_all("load", whole_checkpoint(self._checkpoints, step))
        self.call_all("export", folder.absolute())

    def close(self) -> None:
        """Close the ranks, then end their processes."""
        with suppress(RunError):
            get([actor.close.remote() for actor in self._actors], "learner", CLOSE_TIMEOUT_S)
        for actor in self._actors:
            ray.kill(cast("ray.actor.ActorHandle[object]", actor))  # which gives no attribute a type


def _answers(references: Sequence[ray.ObjectRef[AnswerT]], method: str) -> list[AnswerT]:
    what = f"learner {method}"
    try:
        return get(references, what, LEARNER_TIMEOUT_S)
    except (RunError, RuntimeError) as error:
        lost = _lost(references, is_collective=not isinstance(error, RunError)) if len(references) > 1 else []
        if not lost:
            raise
        raise RunError(
            f"{what}: {', '.join(lost)}; no other rank can go on without it. The same command resumes from the last "
            f"checkpoint ({error})"
        ) from error


def _lost(references: Sequence[ray.ObjectRef[AnswerT]], is_collective: bool) -> list[str]:
    """Return which ranks died, or do not answer although a collective of the others has failed."""
    done, _ = ray.wait(list(references), num_returns=len(references), timeout=GRACE_S)
    lost = []
    for rank, reference in enumerate(references):
        if reference not in done:
            lost += [f"rank {rank} does not answer"] if is_collective else []
            continue
        try:
            ray.get(reference)
        except ray.exceptions.RayActorError:
            lost.append(f"rank {rank} died")
        except Exception:
            continue  # the error that is already at hand, or what followed from it
    return lost
