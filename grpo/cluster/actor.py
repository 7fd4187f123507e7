"""The trainers on Ray: one rank each; `ray.remote` is applied where they are started. What they do is in
grpo/training/learner.py and grpo/training/supervised_learner.py."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from grpo.algorithm.types import StepReport, TrainGroup
from grpo.config.rl import RlConfig
from grpo.config.supervised import SupervisedConfig
from rollout.canary import Canary
from rollout.publication import Publication, unpublish

if TYPE_CHECKING:
    from grpo.training.supervised_learner import ObjectiveFactory


class LearnerWorker:
    """One data-parallel rank. Rank 0 publishes and saves; the others only compute."""

    def __init__(
        self,
        config: RlConfig,
        model_dir: str,
        rank: int,
        threads: int,
        resume_from: str | None,
        sync_dir: str,
        wire_dtype: str,
        inline: bool,
        canaries: Sequence[tuple[int, ...]],
    ) -> None:
        """Remember what to load; `start` loads it.

        Args:
            config: the run's; policy.compute_dtype may be resolved already.
            model_dir: local model folder.
            rank: of config.learner.ranks.
            threads: for torch.
            resume_from: checkpoint folder to go on from.
            sync_dir: where weights are published (`rollout.publication.shared_memory_dir`).
            wire_dtype: torch dtype name of the engines.
            inline: publish the bytes themselves, for engines on other nodes.
            canaries: prompts whose log-probs prove each sync.
        """
        self._config, self._model_dir, self._resume_from = config, model_dir, resume_from
        self._rank, self._threads = rank, threads
        self._sync_dir, self._inline, self._wire_dtype = Path(sync_dir), inline, wire_dtype
        self._canaries = [tuple(c) for c in canaries]

    def rendezvous_address(self) -> str:
        """Where the ranks meet this one; see `rendezvous_address`."""
        return rendezvous_address()

    def start(self, rendezvous: str | None) -> int:
        """Meet the other ranks and load the policy; returns the process id.

        Args:
            rendezvous: rank 0's `rendezvous_address`; None with one rank.
        """
        from grpo.training.learner import Learner

        config = self._config
        device = join_ranks(self._rank, config.learner.ranks, self._threads, rendezvous)
        self._learner = Learner(
            policy=config.policy,
            algorithm=config.algorithm,
            optimizer=config.optimizer,
            learner=config.learner,
            model_path=self._model_dir,
            total_steps=config.steps,
            rank=self._rank,
            world=config.learner.ranks,
            device=device,
            seed=config.seed,
        )
        if self._resume_from is not None:
            self._learner.load(Path(self._resume_from))
        return os.getpid()

    def begin_phase(self, groups: Sequence[TrainGroup], step: int, temperature: float) -> dict[str, float]:
        """See Learner.begin_phase."""
        return self._learner.begin_phase(groups, step, temperature)

    def update(self, mini_batch: Sequence[TrainGroup], step: int, max_tokens: int) -> StepReport:
        """See Learner.update."""
        return self._learner.update(mini_batch, step, max_tokens)

    def publish(self, version: int) -> Publication:
        """Weights of this version with digests and canary log-probs."""
        import torch

        from rollout.weights import publish

        canary = [Canary(ids, self._learner.canary_logprobs(ids)) for ids in self._canaries]
        dtype = getattr(torch, self._wire_dtype)
        return publish(self._learner.named_tensors(), version, self._sync_dir, dtype, canary, self._inline)

    def save(self, root: str, step: int, extra: dict[str, Any], keep: int) -> str:
        """Write a checkpoint; returns its folder."""
        from grpo.training.checkpoint import save_checkpoint

        return str(save_checkpoint(Path(root), step, extra, self._learner.save, keep).path)

    def export(self, folder: str) -> None:
        """Write the policy for transformers and vLLM."""
        self._learner.export(Path(folder))

    def close(self) -> None:
        """Leave the group of ranks and remove what was published."""
        leave_ranks()
        if self._rank == 0 and not self._inline:
            unpublish(self._sync_dir)


class SupervisedWorker:
    """One data-parallel rank of a supervised stage. Rank 0 saves; the others only compute."""

    def __init__(
        self,
        config: SupervisedConfig,
        objective: ObjectiveFactory,
        model_dir: str,
        total_steps: int,
        rank: int,
        threads: int,
        resume_from: str | None,
    ) -> None:
        """Remember what to load; `start` loads it.

        Args:
            config: the run's; policy.compute_dtype may be resolved already.
            objective: makes what is learnt.
            model_dir: local model folder.
            total_steps: updates of the whole run.
            rank, threads, resume_from: see `LearnerWorker`.
        """
        self._config, self._objective = config, objective
        self._model_dir, self._resume_from = model_dir, resume_from
        self._total_steps, self._rank, self._threads = total_steps, rank, threads

    def rendezvous_address(self) -> str:
        """Where the ranks meet this one; see `rendezvous_address`."""
        return rendezvous_address()

    def start(self, rendezvous: str | None) -> int:
        """See LearnerWorker.start."""
        from grpo.training.supervised_learner import SupervisedLearner

        config = self._config
        device = join_ranks(self._rank, config.learner.ranks, self._threads, rendezvous)
        self._learner = SupervisedLearner(
            config.policy,
            config.optimizer,
            config.learner,
            self._objective,
            self._model_dir,
            self._total_steps,
            config.seed,
            self._rank,
            config.learner.ranks,
            device,
        )
        if self._resume_from is not None:
            self._learner.load(Path(self._resume_from))
        return os.getpid()

    def update(self, batch: Sequence[Any], step: int) -> dict[str, float]:
        """See SupervisedLearner.update."""
        return self._learner.update(batch, step)

    def evaluate(self, items: Sequence[Any]) -> dict[str, float]:
        """See SupervisedLearner.evaluate."""
        return self._learner.evaluate(items)

    def save(self, root: str, step: int, extra: dict[str, Any], keep: int) -> str:
        """Write a checkpoint; returns its folder."""
        from grpo.training.checkpoint import save_checkpoint

        return str(save_checkpoint(Path(root), step, extra, self._learner.save, keep).path)

    def export(self, folder: str) -> None:
        """Write the policy for transformers and vLLM."""
        self._learner.export(Path(folder))

    def close(self) -> None:
        """Leave the group of ranks."""
        leave_ranks()


def rendezvous_address() -> str:
    """ "tcp://host:port", free now, by which the ranks on all nodes reach this actor; localhost on a cluster that is
    this machine's alone."""
    host = ray.util.get_node_ip_address()
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"tcp://{host}:{probe.getsockname()[1]}"


def join_ranks(rank: int, world: int, threads: int, rendezvous: str | None) -> str:
    """Set torch's threads, meet the other ranks if there are any; returns the device to compute on.

    oneDNN, and torch's layer over it, each keep 1024 compiled kernels, one for each shape they have met. Packed batches
    hardly ever have the same length twice: that is 20 MiB more a step, for nothing. 64 hold what the layers of one
    batch share, and cost no time.
    """
    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):  # read at the first kernel
        os.environ.setdefault(cache, "64")
    import torch

    torch.set_num_threads(threads)
    has_gpu = torch.cuda.is_available()
    if world > 1:
        torch.distributed.init_process_group(
            "nccl" if has_gpu else "gloo", init_method=rendezvous, rank=rank, world_size=world
        )
    return "cuda" if has_gpu else "cpu"


def leave_ranks() -> None:
    """End what `join_ranks` began."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
