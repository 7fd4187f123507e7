"""One rank of supervised training. An `Objective` says what is learnt: SFT's is grpo/training/sft_objective.py.

    learner.update(batch, step)     micro-batches → loss → gradient → AdamW
    learner.evaluate(items)         the same sums without a gradient
    learner.save(folder), .load(folder), .export(folder)

The loss of a batch is Σ loss(item) / Σ weight(item) over the whole batch, whatever the ranks and packs it is cut into:
with weight = number of target tokens a mean over tokens, with weight = 1 a mean over items.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Generic, Protocol

import torch
from torch import Tensor, nn

from grpo.algorithm.packing_plan import balance, best_fit
from grpo.algorithm.schedules import learning_rate
from grpo.config.router import OFF, RouterConfig
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.training import collectives
from grpo.training.item import ItemT, TakenT
from grpo.training.router_balance import RouterBalance
from grpo.training.trained_policy import TrainedPolicy
from rollout.memory import release

HINT = "Lower optimizer.lr or lengthen optimizer.warmup_steps"


class Objective(Protocol[TakenT]):
    """Defines what is learnt from items of one kind."""

    names: tuple[str, ...]
    """Names of the sums that `loss` returns; the first is "loss", which is minimised."""
    head: nn.Module | None
    """A module that is trained along with the policy and saved beside it; None: the policy alone."""

    def tokens(self, item: TakenT) -> int:
        """Count the packed tokens of the item; items stand in a pack in the order given."""

    def weight(self, item: TakenT) -> float:
        """Return the item's part of the denominator of a batch."""

    def begin(self, step: int, total_steps: int) -> None:
        """Take note of the update whose losses follow: `step` are done before it, of `total_steps`."""

    def loss(self, items: Sequence[TakenT]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Compute one pack: Σ of the items' losses with its graph, and detached sums by the other names.

        The caller opens the autocast region of the policy and divides by the weights.
        """


ObjectiveFactory = Callable[[nn.Module, LearnerConfig, int], Objective[ItemT]]
"""(policy, learner section, seed) → objective; picklable, called on each rank. It may ask for the gradient of
parameters that are frozen, such as those of multi-token prediction."""


class SupervisedLearner(Generic[ItemT]):
    """A data-parallel rank of a supervised stage."""

    def __init__(
        self,
        *,
        policy: PolicyConfig,
        optimizer: OptimizerConfig,
        learner: LearnerConfig,
        objective: ObjectiveFactory[ItemT],
        model_path: Path | str,
        total_steps: int,
        seed: int = 0,
        rank: int = 0,
        device: torch.device | str = "cpu",
        router: RouterConfig = OFF,
    ) -> None:
        """Load the policy and make the objective.

        Args:
            policy, optimizer, learner: sections of the recipe.
            objective: makes the objective for the loaded policy.
            model_path: folder with config and safetensors.
            total_steps: updates of the whole run, for the learning rate's schedule.
            seed: of random weights (the objective's, the adapters'); equal on all ranks.
            rank: of this process among learner.ranks; with more than one torch.distributed is already initialised.
            device: where the policy is.
            router: the recipe's [router].

        Raises:
            PolicyError: the folder cannot be loaded.
        """
        self._optimizer_config, self._config = optimizer, learner
        self._total_steps = total_steps
        self.trained = TrainedPolicy(
            policy=policy,
            optimizer=optimizer,
            learner=learner,
            model_path=model_path,
            rank=rank,
            device=device,
            seed=seed,
        )
        ranks = self.trained.ranks.mesh.ranks
        self._balance = RouterBalance(self.trained.model, router, total_steps=total_steps, ranks=ranks)
        self.objective = objective(self.trained.model, learner, seed)
        self.trained.choose_parameters(self.objective.head)

    def update(self, batch: Sequence[ItemT], step: int) -> dict[str, float]:
        """Make one optimizer update.

        Args:
            batch: items, the same on every rank; not empty.
            step: updates done before this one.

        Returns:
            The objective's sums over the batch's weight, and grad_norm, lr, time and tokens.

        Raises:
            RunError: loss or gradient is not finite; the weights are untouched.
        """
        start = time.perf_counter()
        lr = learning_rate(step, self._total_steps, self._optimizer_config)
        weight = sum(map(self.objective.weight, batch))
        self.objective.begin(step, self._total_steps)
        sums = torch.zeros(len(self.objective.names), dtype=torch.float64, device=self.trained.device)
        with self._balance.watching(), self.trained.autocast():
            for part in self._packs(batch):
                items = part or [self._smallest(batch)]
                self._balance.expect(
                    [self.objective.tokens(item) for item in items],
                    [item.id.encode() for item in items],
                    self.trained.device,
                    counts=part is not None,
                )
                loss, values = self.objective.loss(items)
                balance = self._balance.loss(len(batch))
                if loss.requires_grad:
                    scaled = loss / weight if part else 0.0 * loss
                    self.trained.backward(scaled if balance is None else scaled + balance)
                if part:
                    self._add(sums, loss, values)
        self.trained.add_gradients()
        means = self._means(sums, weight)
        norm = self.trained.step(means["loss"], lr, step, HINT)
        routed = self._balance.finish(step)
        release(self.trained.device)
        seconds = time.perf_counter() - start
        tokens = sum(map(self.objective.tokens, batch))
        return (
            means
            | routed
            | {
                "grad_norm": norm,
                "lr": lr,
                "tokens/learner": float(tokens),
                "time/update_s": seconds,
                "tokens_per_s": tokens / seconds,
            }
        )

    def evaluate(self, items: Sequence[ItemT]) -> dict[str, float]:
        """Return the objective's sums over the items' weight, without a gradient."""
        sums = torch.zeros(len(self.objective.names), dtype=torch.float64, device=self.trained.device)
        with torch.no_grad(), self.trained.autocast():
            for part in self._packs(items):
                loss, values = self.objective.loss(part or [self._smallest(items)])
                if part:
                    self._add(sums, loss, values)
        self.trained.reshard()
        release(self.trained.device)
        return self._means(sums, sum(map(self.objective.weight, items)))

    def save(self, folder: Path) -> None:
        """See `TrainedPolicy.save`."""
        self.trained.save(folder, reference=None)

    def load(self, folder: Path) -> None:
        """Go on from `save`; the next update has the bits it would have had without the break.

        Raises:
            BrokenRun: a file is missing or does not fit the policy or the recipe.
        """
        self.trained.load(folder, reference=None)

    def export(self, folder: Path) -> None:
        """See `TrainedPolicy.export`."""
        self.trained.export(folder)

    def close(self) -> None:
        """Do nothing: a supervised learner keeps nothing outside its process."""

    def _packs(self, items: Sequence[ItemT]) -> Iterator[list[ItemT] | None]:
        """Yield this rank's items, pack by pack; None where other ranks have one and this one only takes part."""
        ranks = self.trained.ranks
        sizes = [self.objective.tokens(item) for item in items]
        share = balance(sizes, ranks.mesh.data)[ranks.mesh.data_index(ranks.rank)]
        packs = best_fit([sizes[i] for i in share], self._config.tokens_per_micro_batch)
        for chosen in collectives.evened(packs, ranks.mesh.ranks, self.trained.device):
            yield None if chosen is None else [items[share[i]] for i in chosen]

    def _smallest(self, items: Sequence[ItemT]) -> ItemT:
        return min(items, key=self.objective.tokens)

    def _add(self, sums: Tensor, loss: Tensor, values: Mapping[str, Tensor]) -> None:
        if not self.trained.ranks.reports:
            return
        every = {"loss": loss.detach(), **values}
        sums += torch.stack([every[name].detach().double() for name in self.objective.names])

    def _means(self, sums: Tensor, weight: float) -> dict[str, float]:
        collectives.add(sums, self.trained.ranks.mesh.ranks)
        return {name: value / weight for name, value in zip(self.objective.names, sums.tolist(), strict=True)}
