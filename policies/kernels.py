"""The fused attention kernels that return a log-sum-exp, one pair per kind of device, behind one signature.

PyTorch's `scaled_dot_product_attention` hides the log-sum-exp which joining two parts needs; these are the
operators beneath it.

Shapes: q, out, grad (n, H, Q, K); k, v (n, H, L, K); lse (n, H, Q) float32; mask (n, 1, 1, L) float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_aten = torch.ops.aten


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """Softmax attention with its log-sum-exp; `causal` aligns the first query with the first key."""
    if q.device.type == "cpu":
        q, k, padded_v, width = _same_width(q, k, v)
        out, lse = _aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, padded_v, 0.0, causal, attn_mask=mask, scale=scale
        )
        return out[..., :width], lse
    raise NotImplementedError(f"no attention kernel for device {q.device.type!r}")


def attend_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    mask: Tensor | None,
    *,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k, v where the softmax that `out` and `lse` come from may span more keys than these."""
    if q.device.type == "cpu":
        q_width, v_width = q.shape[-1], v.shape[-1]
        q, k, v, _ = _same_width(q, k, v)
        grad, out = (_widen(x, v.shape[-1]) for x in (grad, out))
        dq, dk, dv = _aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, q, k, v, out, lse, 0.0, causal, attn_mask=mask, scale=scale
        )
        return dq[..., :q_width], dk[..., :q_width], dv[..., :v_width]
    raise NotImplementedError(f"no attention kernel for device {q.device.type!r}")


def _same_width(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    # The CPU kernel wants one head width; MLA's keys carry a rotary part and are wider than its values.
    width = max(q.shape[-1], v.shape[-1])
    return _widen(q, width), _widen(k, width), _widen(v, width), v.shape[-1]


def _widen(x: Tensor, width: int) -> Tensor:
    return x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1]))
