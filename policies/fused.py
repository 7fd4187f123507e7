"""RMSNorm and SwiGLU whose backward needs less memory: the same formulas, fewer saved tensors and casts.

    fuse(model)     replaces the forward of every RMSNorm and SwiGLU MLP module of a transformers policy

Under autocast transformers' RMSNorm saves its float32 input twice and returns float32, which each following projection
rounds to bfloat16. Here the norm computes in float32, saves its input and scale, and rounds once. SwiGLU saves gate and
up and recomputes silu(gate). Together this saves a third of a Llama's activation memory.
"""

from __future__ import annotations

from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from policies.model import AutogradContext, HfModel


def fuse(model: nn.Module) -> None:
    """Replace the forwards in place; parameters, their names and all results stay the same."""
    for module in model.modules():
        kind = type(module).__name__
        if kind.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
            module.forward = MethodType(_norm_forward, module)
        elif kind.endswith("MLP") and isinstance(getattr(module, "act_fn", None), nn.SiLU | _silu_types()):
            module.forward = MethodType(_mlp_forward, module)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return x / sqrt(mean(x²) + eps) · weight over the last axis, computed in float32.

    The result has autocast's dtype under autocast, else that of transformers: x's dtype promoted with the weight's.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    else:
        dtype = torch.promote_types(x.dtype, weight.dtype)
    result: Tensor = _RmsNorm.apply(x, weight, eps, dtype)  # type: ignore[no-untyped-call]
    return result


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) · up, elementwise."""
    result: Tensor = _SwiGlu.apply(gate, up)  # type: ignore[no-untyped-call]
    return result


def _silu_types() -> type:
    from transformers.activations import ACT2FN

    return type(ACT2FN["silu"])


def _norm_forward(self: HfModel, hidden_states: Tensor) -> Tensor:
    return rms_norm(hidden_states, self.weight, self.variance_epsilon)


def _mlp_forward(self: HfModel, x: Tensor) -> Tensor:
    result: Tensor = self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))
    return result


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: AutogradContext, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, scale)
        return (wide * scale).mul_(weight).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: AutogradContext, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight, scale = ctx.saved_tensors
        grad = grad.to(scale.dtype)
        normed = x.to(scale.dtype) * scale
        # y = n·w, n = x·s(x):  dx = s (dn − n · mean(dn·n))
        grad_weight = (grad * normed).flatten(0, -2).sum(0)
        grad = grad * weight
        mean = (grad * normed).mean(-1, keepdim=True)
        grad_x = grad.sub_(normed.mul_(mean)).mul_(scale)
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), None, None


class _SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: AutogradContext, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: AutogradContext, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        grad_up = F.silu(gate).mul_(grad)
        return torch.ops.aten.silu_backward(grad * up, gate), grad_up
