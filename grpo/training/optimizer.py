"""AdamW (1711.05101) on float32 master weights, with moments in float32 or, as in DeepSeek-V3, bfloat16.

    m ← β1 m + (1−β1) g        v ← β2 v + (1−β2) g²        θ ← θ − lr (λθ + m̂ / (√v̂ + ε))

The step works through each tensor in pieces that fit the cache: no temporary has a model's size, and bfloat16 moments
are converted to float32 piece by piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from grpo.config.sections import OptimizerConfig
from policies.shards import fill, like, local

PIECE = 1 << 18
"""Elements per piece: five float32 pieces, 5 MiB, stay in a core's cache."""


class AdamW:
    """AdamW for named tensors; each step is given its learning rate."""

    def __init__(self, parameters: Mapping[str, Tensor], config: OptimizerConfig) -> None:
        """Start with zero moments.

        Args:
            parameters: float32 tensors by name, updated in place; weight decay applies to those of two or more
                dimensions. Of a tensor that is divided over ranks this one updates its part and has its moments.
            config: the recipe's [optimizer].
        """
        self._parameters = dict(parameters)
        self._config = config
        dtype = torch.bfloat16 if config.moments == "bfloat16" else torch.float32
        self._first = {name: torch.zeros_like(local(p), dtype=dtype) for name, p in self._parameters.items()}
        self._second = {name: torch.zeros_like(local(p), dtype=dtype) for name, p in self._parameters.items()}
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
            gradient = torch.zeros_like(own) if parameter.grad is None else local(parameter.grad)
            tensors = (own, gradient, self._first[name], self._second[name])
            decay = self._config.weight_decay if parameter.ndim >= 2 else 0.0
            for pieces in zip(*(_flat(t).split(PIECE) for t in tensors), strict=True):
                self._step_piece(*pieces, lr=lr, decay=decay, scale=gradient_scale)

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

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the moments themselves, not copies, as "first/<parameter>" and "second/<parameter>".

        They are divided over ranks as the parameters are.
        """
        for kind, moments in (("first", self._first), ("second", self._second)):
            for name, tensor in moments.items():
                yield f"{kind}/{name}", like(self._parameters[name], tensor)

    def load_state(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Copy a saved state into the moments.

        Args:
            tensors: by the names of `state`.
            steps: number of updates done.

        Raises:
            ValueError: a moment is missing, or has another shape or dtype.
        """
        for name, own in self.state():
            saved = tensors.get(name)
            if saved is None or saved.shape != own.shape or saved.dtype != own.dtype:
                found = "missing" if saved is None else f"{saved.dtype} {tuple(saved.shape)}"
                raise ValueError(
                    f"optimizer state {name} is {found}, expected {own.dtype} {tuple(own.shape)}"
                )
            fill(own, saved)
        self.steps = steps


def _flat(tensor: Tensor) -> Tensor:
    """A 1-d view; master weights and their gradients are dense."""
    return tensor.detach().view(-1)
