"""A policy under training on one rank: its weights, its optimizer, and how a gradient becomes an update.

RL (grpo/training/learner.py) and supervised training (grpo/training/supervised_learner.py) share it; it knows neither a
loss nor a batch. With several ranks each holds a part of every tensor (grpo/training/sharding/), and all methods are
collective.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from grpo.common.errors import ConfigError, RunError
from grpo.common.hardware import resolve_compute_dtype
from grpo.config.mesh import mesh_of
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.training import trainer_state
from grpo.training.collectives import RankTeam
from grpo.training.optimizer import AdamW
from grpo.training.reference import FrozenWeights, shards
from grpo.training.shard_files import Shard, load_shards, save_shards, shard_of
from grpo.training.sharding.gradients import add_gradients, gradient_norm
from grpo.training.sharding.mesh import Ranks
from grpo.training.sharding.wrap import reshard, shard_policy
from grpo.training.together import Team, write_folder
from policies import hf_names
from policies.adapters import fingerprint
from policies.export import write_policy
from policies.fused import fuse
from policies.load import blank_policy, fill_policy, own_tensors, read_policy
from policies.lora import (
    adapter_tensors,
    add_adapters,
    draw_adapters,
    load_adapter,
    save_adapter,
    store_frozen,
)
from policies.model import HfConfig, HfModel, causal_lm
from policies.mtp import declare_mtp, drop_mtp, is_mtp_tensor, mtp_layers
from rollout.adapter_base import AdapterBase, BaseTensor
from rollout.memory import release
from rollout.wire import DTYPE_NAMES, digest


class TrainedPolicy:
    """Weights in float32, AdamW, and the compute dtype of the forward.

    One update is `backward(loss)` of each micro-batch inside `autocast()`, then `add_gradients()`, then `step(…)`.
    """

    def __init__(
        self,
        *,
        policy: PolicyConfig,
        optimizer: OptimizerConfig,
        learner: LearnerConfig,
        model_path: Path | str,
        rank: int = 0,
        device: torch.device | str = "cpu",
        seed: int = 0,
        drop_mtp_layers: bool = False,
    ) -> None:
        """Load the policy; layers of multi-token prediction are kept as they are, unless an objective trains them.

        Args:
            policy, optimizer, learner: sections of the recipe.
            model_path: folder with config and safetensors.
            rank: of this process among learner.ranks; with more than one torch.distributed is already initialised.
            device: where the policy is.
            seed: of the adapters' random weights, if policy.lora asks for such; equal on all ranks.
            drop_mtp_layers: leave out the layers of multi-token prediction.

        Raises:
            PolicyError: the folder or the adapter cannot be loaded, or has no layer that policy.lora names.
            ConfigError: policy.lora.frozen_dtype is not what the products are computed in.
        """
        self._policy, self._optimizer_config, self._learner_config = policy, optimizer, learner
        self._model_path = Path(model_path)
        self.device = torch.device(device)
        self.ranks = Ranks.join(mesh_of(learner), rank, self.device.type)
        """Where this rank stands among the others."""
        self.model: nn.Module = blank_policy(model_path)
        config: HfConfig = self.model.config  # of transformers, whose attributes have no types
        self.dtype: str = resolve_compute_dtype(policy.compute_dtype, config.hidden_size)
        """Dtype of the matrix products: float32 or bfloat16."""
        for layer in mtp_layers(self.model):
            layer.requires_grad_(False)
        lora = policy.lora
        if lora is not None:
            add_adapters(self.model, lora.rank, lora.alpha, lora.targets, seed)
            if lora.frozen_dtype == "bfloat16":
                if self.dtype != "bfloat16":
                    raise ConfigError(
                        f'policy.lora.frozen_dtype = "bfloat16", but policy.compute_dtype = "{policy.compute_dtype}" '
                        'is float32 on this machine; set policy.compute_dtype = "bfloat16"'
                    )
                store_frozen(self.model, torch.bfloat16)
        fuse(self.model)
        if learner.recompute:
            _recompute_layers(self.model)
        # Until here the tensors have no memory: a rank reads its own part of each.
        shard_policy(self.model, self.ranks)
        fill_policy(self.model, model_path, self.device)
        if drop_mtp_layers:
            drop_mtp(self.model)
        self._fingerprint: str | None = None
        """Of the weights that adapters belong to."""
        if lora is not None:
            self._fingerprint = fingerprint(self._model_path)
            draw_adapters(self.model, seed)
            if lora.adapter is not None:
                load_adapter(self.model, Path(lora.adapter))
        self.head: nn.Module | None = None
        """A module that is trained beside the policy, such as a reward model's scalar head."""
        self.parameters: dict[str, nn.Parameter] = {}
        """The trained parameters, by name."""
        self.optimizer: AdamW
        self.choose_parameters(None)

    def choose_parameters(self, head: nn.Module | None, *, mtp_apart: bool = False) -> None:
        """Train the policy's parameters that require a gradient now, and a head along with them.

        Call it before the first update: the optimizer starts anew.

        Args:
            head: trained beside the policy.
            mtp_apart: clip the gradient of layers of multi-token prediction by its own norm, not by that of all.
        """
        self._apart = mtp_apart
        self.head = None if head is None else head.to(self.device)
        self.parameters = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        if self.head is not None:
            self.parameters |= {f"{HEAD}.{n}": p for n, p in self.head.named_parameters()}
        self.optimizer = AdamW(
            self.parameters,
            self._optimizer_config,
            rank=self.ranks.rank,
            on_host=self._learner_config.offload_optimizer,
        )

    def autocast(self) -> torch.autocast:
        """The context manager for every forward and backward."""
        return torch.autocast(
            self.device.type,
            dtype=torch.bfloat16,
            enabled=self.dtype == "bfloat16",
            # A cast costs a hundredth of its product, and without the cache it is kept for the backward only: with
            # recompute one layer's. The cache would hold a bfloat16 copy of all weights from their first use on.
            cache_enabled=False,
        )

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradient to every `.grad`.

        With learner.recompute, which saves memory, the allocator first returns its free pages: a forward leaves holes
        between the activations that it keeps, and without this they would add to the memory of the backward, 350 MiB at
        the peak of a policy of 135 M parameters. Faulting the pages in again costs a tiny policy a tenth of its update,
        and a larger one nothing measurable.
        """
        if self._learner_config.recompute:
            release(self.device)
        loss.backward()

    def add_gradients(self) -> None:
        """Complete the sum of every `.grad` over ranks."""
        add_gradients(self.parameters.values(), self.ranks)

    def step(self, loss: float, lr: float, step: int, hint: str) -> float:
        """Clip the gradient, apply it and drop it.

        Args:
            loss: of the whole batch; must be finite.
            lr: learning rate of this update.
            step: updates done before this one, for the error.
            hint: what may help, for the error.

        Returns:
            The gradient's norm before clipping.

        Raises:
            RunError: loss or gradient is not finite; the weights are untouched.
        """
        apart = {n: p for n, p in self.parameters.items() if self._apart and self._is_mtp(n)}
        norm = gradient_norm({n: p for n, p in self.parameters.items() if n not in apart}, self.ranks)
        norm_apart = gradient_norm(apart, self.ranks) if apart else 0.0
        if not all(map(math.isfinite, (norm, norm_apart, loss))):
            self._drop_gradients()
            raise RunError(
                f"step {step}: loss {loss} and gradient norm {norm}; the update was not applied. {hint}"
            )
        scale = self._clip_scale(norm)
        for parameter in apart.values():
            if parameter.grad is not None:
                parameter.grad.mul_(self._clip_scale(norm_apart) / scale)
        self.optimizer.step(lr, scale)
        self._drop_gradients()
        self.reshard()
        return norm

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Float32 weights and buffers that an engine reads, under Hugging Face checkpoint names.

        They are the live tensors, or with adapters merged copies; layers of multi-token prediction are left out. With
        several ranks all run through the iterator together, and each tensor is gathered when its turn comes.
        """
        named = hf_names.named_tensors(self.model)
        return ((name, tensor) for name, tensor in named if not self._is_mtp(name))

    def adapter_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Float32 adapters for engines that have the base; a collective as `named_tensors`."""
        return adapter_tensors(self.model)

    def adapter_base(self, wire_dtype: str) -> AdapterBase | None:
        """Return what engines add `adapter_tensors` to, with a digest of every tensor; None without adapters.

        A collective; the digests are rank 0's.

        Args:
            wire_dtype: name of the engines' torch dtype.
        """
        lora = self._policy.lora
        if lora is None:
            return None
        tensors = {
            name: BaseTensor(DTYPE_NAMES[tensor.dtype], digest(tensor) if self.ranks.rank == 0 else "")
            for name, tensor in hf_names.base_tensors(self.model)
            if not self._is_mtp(name)
        }
        return AdapterBase(lora.alpha / lora.rank, wire_dtype, tensors)

    def export(self, folder: Path) -> None:
        """Write the policy for transformers and vLLM: config, float32 safetensors, tokenizer.

        A head goes beside the weights, in head.safetensors. Adapters are merged into the weights, and also written to
        adapter/. All ranks call it together and share the files out; either all appear or none.
        """
        building = folder.with_name(f".{folder.name}.writing")
        write_folder(folder, building, write=self._write_export, finish=lambda _: None, team=self.team)

    def save(self, folder: Path, reference: FrozenWeights | None) -> None:
        """Write what `load` needs into an existing folder; all ranks call it together, and each writes its own files.

        The policy goes to policy/, that of several ranks into a file of each, or with adapters these alone to adapter/;
        moments, reference and head go beside it (grpo/training/trainer_state.py).
        """
        place = {"rank": self.ranks.rank, "ranks": self.ranks.mesh.ranks}
        if self._policy.lora is None and self.ranks.is_sharded:
            save_shards(folder, trainer_state.POLICY, self._weight_shards(), **place)
        elif self._policy.lora is None:
            policy = folder / trainer_state.POLICY
            policy.mkdir(exist_ok=True)
            self._write_policy(policy)
        self._write_adapter_and_head(folder)
        if self.ranks.rank == 0:
            trainer_state.save_steps(folder, self.optimizer.steps)
        save_shards(folder, trainer_state.OPTIMIZER, self.optimizer.state(), **place)
        if reference is not None:
            frozen = shards(self.model, reference, self.ranks.rank)
            save_shards(folder, trainer_state.REFERENCE, frozen, **place)

    def load(self, folder: Path, reference: FrozenWeights | None) -> None:
        """Go on from `save`, whatever number of ranks wrote; fills the reference too.

        Raises:
            BrokenRun: a file is missing or does not fit the policy or the recipe.
        """
        steps = trainer_state.load_steps(folder)
        head = None if self.head is None else trainer_state.load_head(folder)
        try:
            if self._policy.lora is not None:
                load_adapter(self.model, folder / trainer_state.ADAPTER)
            elif not (folder / trainer_state.POLICY).is_dir():
                load_shards(folder, trainer_state.POLICY, self._weight_shards())
            else:
                read_policy(self.model, folder / trainer_state.POLICY)
            if self.head is not None and head is not None:
                self.head.load_state_dict(head)
            load_shards(folder, trainer_state.OPTIMIZER, self.optimizer.state())
            self.optimizer.steps = steps
            if reference is not None:
                load_shards(folder, trainer_state.REFERENCE, shards(self.model, reference, self.ranks.rank))
                reference.release()
        except (OSError, ValueError, RuntimeError) as error:
            raise trainer_state.broken(folder, error) from error
        self.reshard()

    def reshard(self) -> None:
        """Free the gathered layers: after a pass without a gradient, and after each change of the weights."""
        if self.ranks.is_sharded:
            reshard(self.model)

    @property
    def team(self) -> Team:
        """The ranks, as those that write a folder together."""
        return RankTeam(self.ranks.rank, self.ranks.mesh.ranks, self.device.type)

    def _clip_scale(self, norm: float) -> float:
        return min(1.0, self._optimizer_config.grad_clip / norm) if norm else 1.0

    def _is_mtp(self, name: str) -> bool:
        config: HfConfig = causal_lm(self.model).config
        return is_mtp_tensor(name, config.num_hidden_layers)

    def _weight_shards(self) -> list[Shard]:
        """Return this rank's part of every tensor of the policy."""
        return [shard_of(name, tensor, self.ranks.rank) for name, tensor in own_tensors(self.model).items()]

    def _write_export(self, folder: Path) -> None:
        declare_mtp(self.model, trained=any(map(self._is_mtp, self.parameters)))
        self._write_policy(folder)
        self._write_adapter_and_head(folder)

    def _write_policy(self, folder: Path) -> None:
        part, parts = self.ranks.rank, self.ranks.mesh.ranks
        write_policy(self.model, folder, self._model_path, part=part, parts=parts)

    def _write_adapter_and_head(self, folder: Path) -> None:
        is_first = self.ranks.rank == 0
        if self._policy.lora is not None:
            save_adapter(
                self.model,
                folder / trainer_state.ADAPTER,
                str(self._model_path),
                fingerprint=self._fingerprint,
                writes=is_first,
            )
        if self.head is not None and is_first:
            trainer_state.save_head(folder, self.head.state_dict())

    def _drop_gradients(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None


HEAD = "head"
"""Prefix of a head's parameters among the trained ones."""


def _recompute_layers(model: HfModel) -> None:  # a transformers model: nn.Module has no such method
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    # transformers recomputes in training mode only. Nothing else depends on the mode: the attention refuses dropout.
    model.train()
