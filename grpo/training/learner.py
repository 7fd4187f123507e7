"""The learner: log-probs, gradient, optimizer step. A plain class; grpo/cluster puts it on Ray.

    learner.begin_phase(groups, step, temperature)         fixes π_old and π_ref log-probs for the phase
    learner.update(mini_batch, step, max_tokens)           micro-batches → loss → gradient → AdamW, one policy update
    learner.named_tensors(), .canary_logprobs(ids)         the weights that a sync publishes, and its proof
    learner.save(folder), .load(folder)                    weights, moments, reference: training goes on bit for bit

With one update per phase π_old is π_θ itself, so its log-probs are the detached current ones and cost no pass.
Ranks hold a part of every tensor, take their share of every mini-batch and add up their gradients
(grpo/training/sharding/). Every method is collective: all ranks call it with the same arguments.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grpo.algorithm.batching import denominators, micro_batches, packed_tokens, split_by_rank
from grpo.algorithm.loss_form import loss_form
from grpo.algorithm.losses import grpo_loss
from grpo.algorithm.schedules import is_reference_refresh, learning_rate
from grpo.algorithm.types import Denominators, StepReport, TrainGroup, TrainSample
from grpo.config.algorithm import AlgorithmConfig
from grpo.config.mtp import MtpInRl
from grpo.config.router import OFF, RouterConfig
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.training import collectives
from grpo.training.mtp_follower import MtpFollower
from grpo.training.reference import FrozenWeights, snapshot, swap_weights
from grpo.training.router_balance import RouterBalance
from grpo.training.step_sums import StepSums
from grpo.training.trained_policy import TrainedPolicy
from policies.context import divided
from policies.logprobs import hidden_states, sequence_logprobs, target_logprobs
from policies.mtp import mtp_layers
from policies.packing import PackedSequences, TokenIds, pack
from rollout.adapter_base import AdapterBase
from rollout.memory import release

HINT = "Lower optimizer.lr or raise algorithm.kl_coef; a ratio of whole sequences overflows first"
Logprobs = dict[tuple[str, bytes], NDArray[np.float32]]
"""(L,) float32 by (prompt id, bytes of the completion's tokens), of which they are a function."""


class Learner:
    """One rank."""

    def __init__(
        self,
        *,
        policy: PolicyConfig,
        algorithm: AlgorithmConfig,
        optimizer: OptimizerConfig,
        learner: LearnerConfig,
        model_path: Path | str,
        total_steps: int,
        rank: int = 0,
        device: torch.device | str = "cpu",
        seed: int = 0,
        router: RouterConfig = OFF,
        mtp: MtpInRl = "stale",
    ) -> None:
        """Load the policy; π_ref is the policy as loaded.

        Args:
            policy, algorithm, optimizer, learner: sections of the recipe.
            model_path: folder with config and safetensors.
            total_steps: updates of the whole run, for the learning rate's schedule.
            rank: of this process among learner.ranks; with more than one torch.distributed is already initialised.
            device: where the policy is.
            seed: of the adapters' random weights, if policy.lora asks for such; equal on all ranks.
            router: the recipe's [router].
            mtp: the recipe's mtp.

        Raises:
            PolicyError: the folder cannot be loaded.
            ConfigError: a function that [algorithm] names cannot be loaded.
        """
        self._algorithm, self._optimizer_config, self._config = algorithm, optimizer, learner
        self._total_steps = total_steps
        self.trained = TrainedPolicy(
            policy=policy,
            optimizer=optimizer,
            learner=learner,
            model_path=model_path,
            rank=rank,
            device=device,
            seed=seed,
            drop_mtp_layers=mtp == "drop",
        )
        self.model, self.device = self.trained.model, self.trained.device
        self._rank, self._world_size = rank, self.trained.ranks.mesh.ranks
        self._balance = RouterBalance(self.model, router, total_steps=total_steps, ranks=self._world_size)
        self._follower: MtpFollower | None = None
        if mtp == "train" and mtp_layers(self.model):
            self._follower = MtpFollower(self.model, chunk_tokens=learner.logit_chunk_tokens)
            self.trained.choose_parameters(None, mtp_apart=True)
        self._form = loss_form(algorithm)
        self._reference: FrozenWeights | None = self._snapshot() if algorithm.kl_coef else None
        self._temperature = 1.0
        self._old: Logprobs | None = None
        self._ref: Logprobs | None = None

    def begin_phase(self, groups: Sequence[TrainGroup], step: int, temperature: float) -> dict[str, float]:
        """Fix the log-probs that stay constant in the phase.

        Args:
            groups: all groups that train in the phase, the same on every rank.
            step: updates done; the policy version that sampled.
            temperature: of the sampling; log-probs are of the distribution at this temperature, as the engine's are.

        Returns:
            logprob_mismatch/mean and logprob_mismatch/max: |log π_old − log π_engine| over the sampled tokens,
            nats. Empty with one update per phase, where `update` reports them at no cost.
        """
        self._temperature = temperature
        self._old = self._ref = None
        if self._reference is not None:
            with swap_weights(self.model, self._reference):
                self._ref = self._logprobs(groups)
                self.trained.reshard()
        if self._algorithm.mini_batches > 1:
            with torch.no_grad():
                self._old = self._logprobs(groups)
            self.trained.reshard()
        release(self.device)
        return {} if self._old is None else _mismatch(groups, self._old)

    def update(self, mini_batch: Sequence[TrainGroup], step: int, max_tokens: int) -> StepReport:
        """One optimizer update on a mini-batch.

        Args:
            mini_batch: the same on every rank; its samples were in `begin_phase`. An empty one (all samples abstained)
                leaves the weights alone.
            step: updates done before this one.
            max_tokens: the step's length limit; it divides in aggregation "fixed_length" unless the recipe sets
                algorithm.fixed_length.

        Returns:
            Metrics under the names of grpo/tracking/metrics.py, over all ranks.

        Raises:
            RunError: loss or gradient is not finite; the weights are untouched.
        """
        start = time.perf_counter()
        total = denominators(mini_batch, self._algorithm.fixed_length or max_tokens)
        sums = StepSums(self.device)
        lr = learning_rate(step, self._total_steps, self._optimizer_config)
        norm, routed = 0.0, {}
        if total.samples:
            with self._balance.watching():
                self._accumulate(mini_batch, total, sums)
            self.trained.add_gradients()
            sums.reduce(self._world_size)
            norm = self.trained.step(sums.loss, lr, step, HINT)
            routed = self._balance.finish(step)
        if self._reference is not None and is_reference_refresh(
            step + 1, self._algorithm.reference_refresh_steps
        ):
            self._reference = self._snapshot()
        release(self.device)
        seconds = time.perf_counter() - start
        tokens = sum(packed_tokens(g) for g in mini_batch)
        measured = {
            "grad_norm": norm,
            "zero_gradient": float(norm == 0.0),
            "lr": lr,
            "tokens/learner": float(tokens),
            "time/update_s": seconds,
            "tokens_per_s": tokens / seconds,
        }
        # In a phase with several updates `begin_phase` measures the mismatch; after the first update π_θ has moved on.
        return StepReport(step, sums.metrics(with_mismatch=self._old is None) | routed | measured)

    def canary_logprobs(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """(n-1,) log-probabilities of tokens 1 … n-1 at T = 1, to compare with the engine's prompt_logprobs."""
        with self.trained.autocast():
            values = sequence_logprobs(self.model, token_ids).cpu().numpy()
        self.trained.reshard()
        return values

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors that an engine loads; see `TrainedPolicy.named_tensors`."""
        return self.trained.named_tensors()

    def adapter_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors that an engine adds to its base; see `TrainedPolicy.adapter_tensors`."""
        return self.trained.adapter_tensors()

    def adapter_base(self, wire_dtype: str) -> AdapterBase | None:
        """What `adapter_tensors` are added to; see `TrainedPolicy.adapter_base`."""
        return self.trained.adapter_base(wire_dtype)

    def export(self, folder: Path) -> None:
        """Write the policy for transformers and vLLM: config, float32 safetensors, tokenizer."""
        self.trained.export(folder)

    def save(self, folder: Path) -> None:
        """Write what `load` needs; see `TrainedPolicy.save`."""
        self.trained.save(folder, self._reference)

    def load(self, folder: Path) -> None:
        """Go on from `save`; the next update has the bits it would have had without the break.

        Raises:
            BrokenRun: a file is missing or does not fit the policy or the recipe.
        """
        self.trained.load(folder, self._reference)
        self._old = self._ref = None

    def _accumulate(self, mini_batch: Sequence[TrainGroup], total: Denominators, sums: StepSums) -> None:
        """Add up the gradient of this rank's share in `.grad`."""
        with self.trained.autocast():
            for part in self._shares(mini_batch):
                if part is None:
                    self._take_part(mini_batch, sums)
                    continue
                samples = [s for g in part for s in g.samples]
                packed = self._pack(part)
                self._balance.expect(*_runs(part), self.device)
                states = hidden_states(self.model, packed)
                logprobs, entropy = self._predict(packed, states)
                rollout = self._flat([s.rollout_logprobs for s in samples])
                old = logprobs.detach() if self._old is None else self._flat(_values(part, self._old))
                loss, metrics = grpo_loss(
                    logprobs=logprobs,
                    old_logprobs=old,
                    ref_logprobs=None if self._ref is None else self._flat(_values(part, self._ref)),
                    rollout_logprobs=rollout,
                    sample_ids=packed.sample_ids,
                    advantages=torch.tensor(
                        [s.advantage for s in samples], dtype=torch.float32, device=self.device
                    ),
                    denominators=total,
                    form=self._form,
                )
                balance = self._balance.loss(total.samples)
                if len(logprobs) or self.trained.ranks.is_sharded:
                    self.trained.backward(loss if balance is None else loss + balance)
                self._follow(part, packed, states.detach(), total, sums)
                if self.trained.ranks.reports:
                    sums.add(
                        loss=loss,
                        metrics=metrics,
                        entropy=entropy,
                        logprobs=logprobs,
                        rollout_logprobs=rollout,
                    )

    def _logprobs(self, groups: Sequence[TrainGroup]) -> Logprobs:
        """Log-probs of every sample under the weights that the model has now; ranks share the work and the result."""
        found: Logprobs = {}
        with self.trained.autocast():
            for part in self._shares(groups):
                if part is None:
                    self._forward(self._pack([_smallest(groups)]))
                    continue
                values = self._forward(self._pack(part))[0].cpu().numpy()
                keys, lengths = _keys(part)
                found |= dict(zip(keys, np.split(values, np.cumsum(lengths)[:-1]), strict=True))
        if not self.trained.ranks.is_sharded:
            return found
        keys, lengths = _keys(groups)
        if not keys:
            return {}
        own = [found.get(key) if self.trained.ranks.reports else None for key in keys]
        return dict(zip(keys, collectives.gather_parts(own, lengths, self.device), strict=True))

    def _shares(self, groups: Sequence[TrainGroup]) -> Iterator[list[TrainGroup] | None]:
        """Yield this rank's micro-batches; None where other ranks have one and this one only takes part."""
        if not groups:
            return
        mesh = self.trained.ranks.mesh
        share = split_by_rank(groups, mesh.data)[mesh.data_index(self._rank)]
        parts = micro_batches(share, self._config.tokens_per_micro_batch)
        yield from collectives.evened(parts, self._world_size, self.device)

    def _take_part(self, mini_batch: Sequence[TrainGroup], sums: StepSums) -> None:
        """Run one sample that adds nothing to the gradient, so that other ranks can gather and sum layers."""
        filler = [_smallest(mini_batch)]
        self._balance.expect(*_runs(filler), self.device, counts=False)
        packed = self._pack(filler)
        states = hidden_states(self.model, packed)
        nothing = 0.0 * self._predict(packed, states)[0].sum()
        self._balance.loss(1)
        self.trained.backward(nothing)
        self._follow(filler, packed, states.detach(), None, sums)

    def _follow(
        self,
        groups: Sequence[TrainGroup],
        packed: PackedSequences,
        states: Tensor,
        total: Denominators | None,
        sums: StepSums,
    ) -> None:
        """Add the gradient of the layers of multi-token prediction that follow; None: it adds nothing to it."""
        if self._follower is None:
            return
        loss = self._follower.loss(groups, packed, states, 1 if total is None else total.tokens)
        self.trained.backward(0.0 * loss if total is None else loss)
        if total is not None and self.trained.ranks.reports:
            sums.add_mtp(loss)

    def _forward(self, packed: PackedSequences) -> tuple[Tensor, Tensor]:
        return self._predict(packed, hidden_states(self.model, packed))

    def _predict(self, packed: PackedSequences, states: Tensor) -> tuple[Tensor, Tensor]:
        return target_logprobs(
            self.model,
            packed,
            states,
            temperature=self._temperature,
            chunk_tokens=self._config.logit_chunk_tokens,
        )

    def _pack(self, groups: Sequence[TrainGroup]) -> PackedSequences:
        sequences: list[tuple[TokenIds, list[TokenIds]]] = [
            (g.prompt_ids, [s.token_ids for s in g.samples]) for g in groups
        ]
        return divided(self.model, pack(sequences).to(self.device))

    def _flat(self, arrays: Sequence[NDArray[np.float32]]) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays).astype(np.float32)).to(self.device)

    def _snapshot(self) -> FrozenWeights:
        return snapshot(self.model, torch.bfloat16 if self.trained.dtype == "bfloat16" else torch.float32)


def _smallest(groups: Sequence[TrainGroup]) -> TrainGroup:
    """Return the sample with the fewest packed tokens, as a group of its own."""
    single = [dataclasses.replace(g, samples=(s,)) for g in groups for s in g.samples]
    return min(single, key=packed_tokens)


def _runs(groups: Sequence[TrainGroup]) -> tuple[list[int], list[bytes | None]]:
    """Lengths of the runs of a pack's tokens, prompts and completions, and what identifies each completion."""
    runs: list[tuple[int, bytes | None]] = []
    for group in groups:
        runs.append((len(group.prompt_ids), None))
        runs += [(len(s.token_ids), s.prompt_id.encode() + s.token_ids.tobytes()) for s in group.samples]
    return [length for length, _ in runs], [key for _, key in runs]


def _key(sample: TrainSample) -> tuple[str, bytes]:
    return sample.prompt_id, sample.token_ids.tobytes()


def _keys(groups: Sequence[TrainGroup]) -> tuple[list[tuple[str, bytes]], list[int]]:
    """Keys and lengths of all samples, in order."""
    samples = [s for g in groups for s in g.samples]
    return [_key(s) for s in samples], [len(s.token_ids) for s in samples]


def _values(groups: Sequence[TrainGroup], logprobs: Logprobs) -> list[NDArray[np.float32]]:
    """Log-probs of all samples, in order."""
    return [logprobs[key] for key in _keys(groups)[0]]


def _mismatch(groups: Sequence[TrainGroup], old: Logprobs) -> dict[str, float]:
    """Mean and maximum of |log π_old − log π_engine| over all tokens, nats; empty without tokens."""
    parts = [np.abs(old[_key(s)] - s.rollout_logprobs) for g in groups for s in g.samples]
    flat = np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
    if not len(flat):
        return {}
    return {"logprob_mismatch/mean": float(flat.mean()), "logprob_mismatch/max": float(flat.max())}
