"""Fused attention of packed rows on NVIDIA GPUs: FlashAttention's kernels for sequences of different lengths.

They keep no score matrix, pad no row, and read a key head once for all query heads that share it. They take bfloat16
and float16, heads of one width up to 256 (a multiple of 8: narrower ones are widened with zeros, MLA's values of 128 to
its keys' 192), and GPUs from Ampere on. Elsewhere `policies/kernels.py` computes the same.

Never run on hardware: what surrounds the kernels is tested against a dense mask with the kernels' contract in their
place, their arguments against PyTorch's own shape checks. `make gpu-check` compares them with plain products on a GPU,
and so does a learner, once per width (`agrees`): a kernel that computes something else is reported and not used.

The backward's dq is summed by atomic additions: two runs differ in their last bits, unless
`torch.use_deterministic_algorithms(True)` is set.
"""

from __future__ import annotations

import functools
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

from policies.kernels import attend_plain, attend_plain_backward
from policies.layout import Ragged

DTYPES = (torch.bfloat16, torch.float16)
WIDEST = 256
FORWARD = torch.ops.aten._flash_attention_forward
BACKWARD = torch.ops.aten._flash_attention_backward
"""What `torch.nn.attention.varlen` is built on; that module does not give its backward another log-sum-exp."""
OLDEST_CAPABILITY = (8, 0)
TOLERANCE = 0.03
"""Largest difference from plain matrix products, relative to their largest value: eight roundings of bfloat16."""


def usable(q_THK: Tensor, v_THK: Tensor) -> bool:
    """Tell if the kernels take these queries and values, on this device, and compute what they should."""
    widest = max(q_THK.shape[-1], v_THK.shape[-1])
    if q_THK.device.type != "cuda" or q_THK.dtype not in DTYPES or _widened(widest) > WIDEST:
        return False
    if torch.cuda.get_device_capability(q_THK.device) < OLDEST_CAPABILITY:
        return False
    return agrees(q_THK.device, q_THK.dtype, q_THK.shape[-1], v_THK.shape[-1])


def forward(
    q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, ragged: Ragged, *, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """Compute attention of the ragged rows, and its log-sum-exp.

    Args:
        q_THK: (q, H, K) queries, in the order of `ragged.queries`.
        k_THK: (k, H_kv, K) keys, in the order of `ragged.keys`; H_kv divides H.
        v_THK: (k, H_kv, K_v) values.
        ragged: the rows.
        causal: query i of a row sees its keys 0 … i; otherwise all of them.
        scale: of the scores.

    Returns:
        (q, H, K_v) outputs and (q, H) float32 log-sum-exps.
    """
    width = _widened(max(q_THK.shape[-1], v_THK.shape[-1]))
    q, k, v = (_pad(x, width) for x in (q_THK, k_THK, v_THK))
    out, lse_Hq, *_ = FORWARD(
        q, k, v, ragged.query_ends, ragged.key_ends, ragged.longest_query, ragged.longest_key, 0.0, causal,
        return_debug_mask=False, scale=scale,
    )  # fmt: skip
    return out[..., : v_THK.shape[-1]], lse_Hq.transpose(0, 1)


def backward(
    grad_THK: Tensor,
    q_THK: Tensor,
    k_THK: Tensor,
    v_THK: Tensor,
    out_THK: Tensor,
    lse_TH: Tensor,
    ragged: Ragged,
    *,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute gradients of q, k, v; `out` and `lse` may come from a softmax over more keys than these."""
    width = _widened(max(q_THK.shape[-1], v_THK.shape[-1]))
    grad, q, k, v, out = (_pad(x, width) for x in (grad_THK, q_THK, k_THK, v_THK, out_THK))
    unused = torch.empty(0, device=q.device)
    rng_state = torch.zeros(2, dtype=torch.uint64, device=q.device)  # of a dropout of 0
    dq, dk, dv = BACKWARD(
        grad, q, k, v, out, lse_TH.transpose(0, 1).contiguous(), ragged.query_ends, ragged.key_ends,
        ragged.longest_query, ragged.longest_key, 0.0, causal, rng_state, unused, scale=scale,
    )  # fmt: skip
    return dq[..., : q_THK.shape[-1]], dk[..., : q_THK.shape[-1]], dv[..., : v_THK.shape[-1]]


@functools.cache
def agrees(device: torch.device, dtype: torch.dtype, k_width: int, v_width: int) -> bool:
    """Compare the kernels with plain matrix products once; warn and return False where they differ or fail.

    The backward is given output and log-sum-exp of a softmax over more keys, as the joined parts of a packed row do.
    """
    try:
        error = largest_error(device, dtype, k_width, v_width)
    except RuntimeError as reason:
        warnings.warn(
            f"fused attention does not run on {device}, plain matrix products take its place: {reason}",
            stacklevel=2,
        )
        return False
    if error < TOLERANCE:
        return True
    warnings.warn(
        f"fused attention on {device} differs from plain matrix products by {error:.2g} of the largest value "
        f"(widths {k_width} and {v_width}, {dtype}), and is not used",
        stacklevel=2,
    )
    return False


def largest_error(device: torch.device, dtype: torch.dtype, k_width: int, v_width: int) -> float:
    """Return the largest difference of outputs and gradients from plain ones, relative to their largest value."""
    generator = torch.Generator().manual_seed(0)
    heads, kv_heads, lengths = 4, 2, (33, 7)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    worst = 0.0
    total, scale = sum(lengths), k_width**-0.5
    q, k, v = (
        random(total, heads, k_width),
        random(total, kv_heads, k_width),
        random(total, kv_heads, v_width),
    )
    grad = random(total, heads, v_width)
    ends = torch.tensor([0, lengths[0], total], dtype=torch.int32, device=device)
    index = torch.arange(total, device=device)
    ragged = Ragged(index, index, ends, ends, max(lengths), max(lengths))
    for causal in (True, False):
        out, lse = forward(q, k, v, ragged, causal=causal, scale=scale)
        joined_out, joined_lse = (0.5 * out).to(dtype), lse + 0.7
        found = [
            out, lse, *backward(grad, q, k, v, joined_out, joined_lse, ragged, causal=causal, scale=scale),
        ]  # fmt: skip
        rows = []
        for first, stop in ((0, lengths[0]), (lengths[0], total)):
            own = slice(first, stop)
            # (1, H, L, K), a key head once per query head
            q1, grad1, out1 = (x[own].transpose(0, 1)[None] for x in (q, grad, joined_out))
            k1, v1 = (x[own].repeat_interleave(heads // kv_heads, 1).transpose(0, 1)[None] for x in (k, v))
            lse1 = joined_lse[own].transpose(0, 1)[None].contiguous()
            plain_out, plain_lse = attend_plain(q1, k1, v1, None, causal=causal, scale=scale)
            dq, dk, dv = attend_plain_backward(
                grad1, q1, k1, v1, out1, lse1, None, causal=causal, scale=scale
            )
            dk, dv = (x.reshape(1, kv_heads, -1, *x.shape[2:]).float().sum(2) for x in (dk, dv))
            rows.append([x[0].transpose(0, 1) for x in (plain_out, plain_lse[..., None], dq, dk, dv)])
        for mine, *theirs in zip(found, *rows, strict=True):
            expected = torch.cat(list(theirs)).float()
            difference = (mine.float().reshape(expected.shape) - expected).abs().max() / expected.abs().max()
            worst = max(worst, float(difference.nan_to_num(nan=float("inf"))))
    return worst


def _widened(width: int) -> int:
    return -(-width // 8) * 8


def _pad(x_THK: Tensor, width: int) -> Tensor:
    return (x_THK if x_THK.shape[-1] == width else F.pad(x_THK, (0, width - x_THK.shape[-1]))).contiguous()
