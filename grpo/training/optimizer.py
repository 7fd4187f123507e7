"""AdamW (1711.05101) on float32 master weights, with moments in float32 or, as in DeepSeek-V3, bfloat16.

    m ← β1 m + (1−β1) g        v ← β2 v + (1−β2) g²        θ ← θ − lr (λθ + m̂ / (√v̂ + ε))

The step works through each tensor in pieces that fit the cache: no temporary has a model's size, and bfloat16 moments
are converted to float32 piece by piece.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from grpo.config.sections import OptimizerConfig
from grpo.training.host_moments import HostMoments
from grpo.training.shard_files import Shard, shard_of
from policies.shards import local

PIECE = 1 << 18
"""Elements per piece: five float32 pieces, 5 MiB, stay in a core's cache."""
HOST_PIECE = 1 << 24
"""Elements per piece where the moments come from the host to a GPU: copies of 64 MiB keep the bus busy."""


class AdamW:
    """AdamW for named tensors; each step is given its learning rate."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        config: OptimizerConfig,
        *,
        rank: int = 0,
        on_host: bool = False,
    ) -> None:
        """Start with zero moments.

        Args:
            parameters: float32 tensors by name, updated in place; weight decay applies to those of two or more
                dimensions. Of a tensor that is divided over ranks this one updates its part and has its moments.
            config: the recipe's [optimizer].
            rank: of this process among those that share the parameters.
            on_host: keep the moments in the host's memory (grpo/training/host_moments.py).
        """
        self._parameters = dict(parameters)
        self._config, self._rank = config, rank
        device = next((p.device for p in self._parameters.values()), torch.device("cpu"))
        self._host = HostMoments(device) if on_host else None
        dtype = torch.bfloat16 if config.moments == "bfloat16" else torch.float32
        self._first = {name: self._zeros(p, dtype) for name, p in self._parameters.items()}
        self._second = {name: self._zeros(p, dtype) for name, p in self._parameters.items()}
        self.steps = 0
        """Number of updates done: the t of the bias correction."""

    @torch.no_grad()
    def step(self, lr: float, gradient_scale: float) -> None:
        """Do one update.

        Args:
            lr: learning rate.
            gradient_scale: factor on every `.grad`, from gradient clipping; applied here, so that the gradients are
                read once. A parameter without a gradient is updated with a gradient of zero.
        """
        self.steps += 1
        for name, parameter in self._parameters.items():
            own = local(parameter)
            gradient = local(parameter.grad) if parameter.grad is not None else torch.zeros_like(own)
            decay = self._config.weight_decay if parameter.ndim >= 2 else 0.0
            size = HOST_PIECE if self._host is not None and own.is_cuda else PIECE
            weights, gradients, first, second = (
                _flat(t).split(size) for t in (own, gradient, self._first[name], self._second[name])
            )
            step = functools.partial(self._step_piece, lr=lr, decay=decay, scale=gradient_scale)
            if self._host is None:
                for pieces in zip(weights, gradients, first, second, strict=True):
                    step(*pieces)
            else:
                self._host.visit(
                    list(zip(first, second, strict=True)), functools.partial(_at, step, weights, gradients)
                )

    def _step_piece(
        self,
        weight: Tensor,
        gradient: Tensor,
        first: Tensor,
        second: Tensor,
        *,
        lr: float,
        decay: float,
        scale: float,
    ) -> None:
        gradient = gradient.float() * scale if scale != 1.0 else gradient.float()
        first32, second32 = first.float(), second.float()
        # The kernel takes the step of its bias correction from this count.
        count = torch.tensor(float(self.steps), device=weight.device)
        torch._fused_adamw_(
            [weight],
            [gradient],
            [first32],
            [second32],
            [],
            [count],
            lr=lr,
            beta1=self._config.beta1,
            beta2=self._config.beta2,
            weight_decay=decay,
            eps=self._config.eps,
            amsgrad=False,
            maximize=False,
        )
        if first32 is not first:
            first.copy_(first32)
            second.copy_(second32)

    def state(self) -> Iterator[Shard]:
        """Yield the live moments, this rank's parts, as "first/<parameter>" and "second/<parameter>"."""
        for kind, moments in (("first", self._first), ("second", self._second)):
            for name, tensor in moments.items():
                yield shard_of(f"{kind}/{name}", self._parameters[name], self._rank, tensor)

    def _zeros(self, parameter: Tensor, dtype: torch.dtype) -> Tensor:
        own = local(parameter)
        return torch.zeros_like(own, dtype=dtype) if self._host is None else self._host.zeros_like(own, dtype)


def _at(
    step: Callable[[Tensor, Tensor, Tensor, Tensor], None],
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    index: int,
    first: Tensor,
    second: Tensor,
) -> None:
    """Update the piece of this index, whose moments are on the device."""
    step(weights[index], gradients[index], first, second)


def _flat(tensor: Tensor) -> Tensor:
    """A 1-d view; master weights and their gradients are dense."""
    return tensor.detach().view(-1)
