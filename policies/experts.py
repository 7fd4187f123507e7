"""Routed experts of DeepSeekMoE layers: tokens sorted by expert, one grouped matrix product for all experts.

    register()                                    transformers' models take it as experts_implementation = NAME
    routed_output(experts, states, chosen, weights)

transformers' own loop picks each expert's weights out of the fused tensor by an index, so its backward writes a tensor
of zeros of the size of all experts for every one of them: with E experts, E² times one expert's memory traffic. In a
grouped product every gradient is written once, and a GPU need not ask the host how many tokens an expert has.

Axes: T tokens, K experts of a token, E experts of a layer, S = T K rows, D model width, I expert width, r rank of LoRA.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.model import HfModel

NAME = "grpo_grouped"
"""The name under which transformers finds `routed_output`."""
FUSED = ("gate_up_proj", "down_proj")
"""The tensors of a layer's routed experts: (E, 2I, D) and (E, D, I)."""
ADAPTERS = ("lora_A", "lora_B")
"""LoRA of the experts, where they have it: (E, r, in) and (E, out, r) by the names of `FUSED`."""
Linears = tuple[Tensor, tuple[Tensor, Tensor, float] | None]
"""W (E, out, in) of all experts, and the adapters' A (E, r, in), B (E, out, r) and α/r."""
_ALIGNED = 8
"""Widths that grouped products take are multiples of this: 16 bytes of bfloat16."""


def register() -> None:
    """Make `routed_output` known to transformers."""
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    ALL_EXPERTS_FUNCTIONS.register(NAME, routed_output)


def routed_output(
    experts: HfModel, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
) -> Tensor:
    """Return the (T, D) sum of the chosen experts' outputs (V3 2412.19437 eq. 12 without the shared experts).

    Args:
        experts: the layer's module, with the tensors of `FUSED` and perhaps adapters (policies/lora_experts.py).
        hidden_states: (T, D).
        top_k_index: (T, K) int64 experts.
        top_k_weights: (T, K); summed in this type, so that a float32 router's weights add up in float32.
    """
    rows, chosen, back = sorted_by_expert(hidden_states, top_k_index)
    ends = expert_ends(chosen, experts.num_experts)
    outputs = expert_outputs(rows, ends, *linears(experts), experts.act_fn)
    return weighted_sum(outputs.index_select(0, back), top_k_weights, hidden_states.dtype)


def sorted_by_expert(hidden_states: Tensor, top_k_index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the (S, D) rows of all (token, choice) pairs in the order of their experts.

    A token's row is repeated before it is sorted: so no backward adds up rows in an order that a GPU chooses.

    Returns:
        The rows, their (S,) experts in order, and (S,) where the row of each pair went.
    """
    (tokens, width), choices = hidden_states.shape, top_k_index.shape[1]
    chosen, order = top_k_index.reshape(-1).sort(stable=True)
    repeated = hidden_states.unsqueeze(1).expand(tokens, choices, width).reshape(tokens * choices, width)
    return repeated.index_select(0, order), chosen, inverse(order)


def inverse(order: Tensor) -> Tensor:
    """Return where each row went, of an (S,) order in which rows were taken; without sorting again."""
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return back


def weighted_sum(outputs: Tensor, top_k_weights: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (T, D): the (S, D) outputs of each token's experts, by its (T, K) weights."""
    by_token = outputs.view(*top_k_weights.shape, outputs.shape[1])
    return (by_token * top_k_weights[..., None]).sum(1).to(dtype)


def expert_ends(sorted_experts: Tensor, count: int) -> Tensor:
    """Return the (E,) int32 row behind each expert's last one, of (S,) experts in order; the host learns nothing."""
    every = torch.arange(count, device=sorted_experts.device)
    return torch.searchsorted(sorted_experts, every, right=True).int()


def expert_outputs(rows: Tensor, ends: Tensor, gate_up: Linears, down: Linears, act: nn.Module) -> Tensor:
    """Return (S, D) outputs of (S, D) rows, of which expert e computes those from ends[e - 1] to ends[e]."""
    gate, up = _adapted(rows, ends, gate_up).chunk(2, dim=-1)
    return _adapted(act(gate) * up, ends, down)


def linears(experts: HfModel) -> tuple[Linears, Linears]:
    """Return both layers of the experts that this rank holds, with their adapters if they have some."""
    gate_up, down = (_linears(experts, name) for name in FUSED)
    return gate_up, down


def adapters_of(experts: HfModel) -> tuple[nn.ParameterDict, ...]:
    """Return A and B by the fused tensors' names; () without adapters."""
    first, second = ADAPTERS
    return (getattr(experts, first), getattr(experts, second)) if hasattr(experts, first) else ()


def _linears(experts: HfModel, name: str) -> Linears:
    weight, adapters = _held(getattr(experts, name)), adapters_of(experts)
    if not adapters:
        return weight, None
    first, second = (_held(tensors[name]) for tensors in adapters)
    return weight, (first, second, experts.lora_scale)


def _held(parameter: Tensor) -> Tensor:
    """Return this rank's part, with its gradient."""
    to_local = getattr(parameter, "to_local", None)
    return parameter if to_local is None else to_local()


def _adapted(rows: Tensor, ends: Tensor, linear: Linears) -> Tensor:
    weight, adapter = linear
    output = grouped_linear(rows, weight, ends)
    if adapter is None:
        return output
    first, second, scale = adapter
    return output + grouped_linear(grouped_linear(rows, first, ends), second, ends) * scale


def grouped_linear(rows: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Return (S, out): each expert's x Wᵀ of its rows, in autocast's type where that is on, as `F.linear` does.

    Args:
        rows: (S, in), sorted by expert.
        weight: (E, out, in).
        ends: (E,) int32, see `expert_ends`; the last is S.
    """
    device = rows.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    out, inner = weight.shape[1:]
    more_out, more_inner = -out % _ALIGNED, -inner % _ALIGNED
    rows, weight = rows.to(dtype), weight.to(dtype)
    if dtype == torch.float64:  # of tests' oracles, which grouped products refuse
        counts = ends.diff(prepend=ends.new_zeros(1)).tolist()
        return torch.cat([F.linear(x, w) for x, w in zip(torch.split(rows, counts), weight, strict=True)])
    if more_inner:
        rows = F.pad(rows, (0, more_inner))
    if more_out or more_inner:
        weight = F.pad(weight, (0, more_inner, 0, more_out))
    output = F.grouped_mm(rows, weight.transpose(1, 2), offs=ends)
    return output[:, :out] if more_out else output
