"""The learner ranks of an RL run: what each rank holds, and `grpo.rl.loop`'s Learners over Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any  # Any: the arguments of `Learner.update`, passed on

from rich.markup import escape

from grpo.algorithm.types import StepReport, TrainGroup
from grpo.cluster.actor import RankPosition
from grpo.cluster.ranks import RankGroup
from grpo.cluster.ray_session import put
from grpo.common.console import say
from grpo.config.rl import RlConfig
from grpo.rl.loop import LoopState
from rollout.canary import Canary
from rollout.config import Transport
from rollout.errors import WeightSyncError
from rollout.publication import Head, Publication, Tail, Window

if TYPE_CHECKING:
    from grpo.training.learner import Learner


@dataclass(frozen=True)
class PublishSettings:
    """How rank 0 hands weights to the engines."""

    roots: tuple[Path, ...]
    """Where weights may be published, best first (`rollout.weight_folders.publication_roots`)."""
    wire_dtype: str
    """Name of the engines' torch dtype."""
    transport: Transport
    """engine.transport, "auto" resolved."""
    canaries: tuple[tuple[int, ...], ...]
    """Prompts whose log-probs prove each sync."""


@dataclass(frozen=True)
class RlLearnerFactory:
    """Makes the learner of a rank; picklable."""

    config: RlConfig
    """The run's, with policy.compute_dtype resolved."""
    model_dir: Path
    """As every node sees it."""
    publish: PublishSettings

    def __call__(self, position: RankPosition) -> PublishingLearner:
        """Load the policy.

        Raises:
            PolicyError: the folder cannot be loaded.
        """
        from grpo.training.learner import Learner

        config = self.config
        learner = Learner(
            policy=config.policy,
            algorithm=config.algorithm,
            optimizer=config.optimizer,
            learner=config.learner,
            model_path=self.model_dir,
            total_steps=config.steps,
            rank=position.rank,
            device=position.device,
            seed=config.seed,
            router=config.router,
            mtp=config.mtp,
        )
        return PublishingLearner(learner, self.publish, position.rank)


@dataclass(frozen=True)
class Stream:
    """What the driver needs to pass a stream on."""

    head: Head
    after: tuple[int, ...]
    """By window: the window that must have been read before it may be written; -1: none."""
    nbytes: int
    """Of the tensors."""
    note: str
    """What the user should know about the windows' place; empty: nothing."""


class PublishingLearner:
    """A `Learner` that streams its weights, or its adapters alone, to the engines.

    All ranks make the same calls, since a sharded policy's tensors are put together by all; rank 0 alone sends.
    """

    def __init__(self, learner: Learner, settings: PublishSettings, rank: int) -> None:
        import torch

        from rollout.transport.choice import make_store
        from rollout.transport.sender import Sender

        self._learner, self._settings, self._rank = learner, settings, rank
        store = make_store(settings.transport if rank == 0 else "none", settings.roots)
        base = learner.adapter_base(settings.wire_dtype)
        self._tensors = learner.named_tensors if base is None else learner.adapter_tensors
        self._sender = Sender(store, getattr(torch, settings.wire_dtype) if base is None else None, base=base)
        self._version = -1
        self._canary: tuple[Canary, ...] = ()
        self._has_changed = True
        self.begin_phase = learner.begin_phase
        self.save = learner.save
        self.export = learner.export

    def update(self, *arguments: Any) -> StepReport:
        """Make one optimizer update; see `Learner.update`."""
        self._has_changed = True
        return self._learner.update(*arguments)

    def load(self, folder: Path) -> None:
        """Go on from `save`; see `Learner.load`."""
        self._has_changed = True
        self._learner.load(folder)

    def begin_stream(self, version: int, readers: Sequence[str]) -> Stream:
        """Start a stream of the weights as this version, or of the same version again.

        Every rank takes part in gathering the tensors; the first one writes, and the others return None.

        Raises:
            NoRoomForWeights: a window fits nowhere on this node.
            WeightSyncError: the weights have changed since this version.
        """
        if self._has_changed and version <= self._version:
            raise WeightSyncError(
                f"weights of version {version} are asked for again, but the learner has gone on from {self._version}"
            )
        self._version, self._has_changed, self._canary = version, False, ()
        sender = self._sender
        head = sender.begin(version, self._tensors, readers)
        after = tuple(sender.store.after(index) for index in range(len(sender)))
        return Stream(head, after, sender.nbytes, sender.store.note)

    def write_window(self, index: int) -> Window | None:
        """Write the next window of the stream, whose `after` has been read; None on ranks that do not send."""
        if self._rank:
            self._sender.skip(index)
            return None
        return self._sender.window(index)

    def compute_canary(self) -> None:
        """Compute the canary's log-probs for this stream, at any time between `begin_stream` and `finish_stream`."""
        self._canary = tuple(
            Canary(ids, self._learner.canary_logprobs(ids)) for ids in self._settings.canaries
        )

    def finish_stream(self) -> Tail:
        """End the stream, with the canary's log-probs if they were computed for it."""
        return self._sender.finish(self._canary)

    def close(self) -> None:
        """Remove what was published."""
        self._sender.close()


class StreamedWeights(Publication):
    """One version of the weights, as the driver passes it on from the ranks to the engines."""

    def __init__(self, ranks: RankGroup, version: int, on_note: Callable[[str], None]) -> None:
        """Take the ranks, the version that they hold, and who is told of a stream's note."""
        self._ranks, self._version, self._on_note = ranks, version, on_note
        self._after: tuple[int, ...] = ()
        self._nbytes = 0
        self._canary: Callable[[], None] | None = None
        self._with_canary = True

    @property
    def nbytes(self) -> int:
        """See `Publication.nbytes`."""
        return self._nbytes

    @property
    def version(self) -> int:
        """The policy version."""
        return self._version

    def begin(self, readers: Sequence[str], *, with_canary: bool = True) -> Head:
        """See `Publication.begin`."""
        self._with_canary = with_canary
        stream: Stream = self._ranks.call_all("begin_stream", self._version, list(readers))
        self._after, self._nbytes = stream.after, stream.nbytes
        self._on_note(stream.note)
        return stream.head

    def windows(self, wait: Callable[[int], None]) -> Iterator[Window]:
        """See `Publication.windows`; the ranks write a window while the engines load the one before.

        They compute the canary when they would first wait for the engines, at the latest while these load the end.
        """
        after = self._after
        started: deque[Callable[[], Window]] = deque()
        self._canary = None
        for index in range(len(after)):
            while started and after[index] >= index - len(started):
                yield started.popleft()()  # its memory is needed again: the engines must have it first
            if after[index] >= 0:
                self._start_canary()
            wait(after[index])
            started.append(self._ranks.start_all("write_window", index))
            if len(started) > 1:
                yield started.popleft()()
        self._start_canary()
        while started:
            yield started.popleft()()

    def _start_canary(self) -> None:
        if self._with_canary and self._canary is None:
            self._canary = self._ranks.start_all("compute_canary")

    def finish(self) -> Tail:
        """See `Publication.finish`."""
        if self._canary is not None:
            self._canary()
        tail: Tail = self._ranks.call_all("finish_stream")
        return tail


class LearnerGroup(RankGroup):
    """All learner ranks, seen from the loop (`grpo.rl.loop.Learners`)."""

    _note = ""
    """What was said about the place of the windows."""

    def begin_phase(self, groups: Sequence[TrainGroup], step: int, temperature: float) -> dict[str, float]:
        """Fix old and reference log-probs of the phase; see `Learner.begin_phase`."""
        metrics: dict[str, float] = self.call_all("begin_phase", put(list(groups)), step, temperature)
        return metrics

    def update(self, mini_batch: Sequence[TrainGroup], step: int, max_tokens: int) -> StepReport:
        """Make one optimizer update; see `Learner.update`."""
        report: StepReport = self.call_all("update", put(list(mini_batch)), step, max_tokens)
        return report

    def publish(self, version: int) -> Publication:
        """Return the ranks' weights as this version; nothing moves before an engine loads them."""
        return StreamedWeights(self, version, self._say_once)

    def _say_once(self, note: str) -> None:
        if note and note != self._note:
            say(f"[yellow]note[/] {escape(note)}")
        self._note = note

    def save(self, state: LoopState, protected: Sequence[int]) -> None:
        """Have rank 0 write a checkpoint, and delete old ones but the protected."""
        self.save_checkpoint(state.step, state.extra(), protected)
