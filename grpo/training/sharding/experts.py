"""Expert parallelism: the routed experts of a layer are shared out over ranks, and the tokens travel to them.

    shard_experts(model, ranks)      in place, before the layers are wrapped

Each token is sent to the ranks that hold its chosen experts (all-to-all), computed there together with the tokens of
the other ranks, and sent back; the weighted sum is that of one rank, in the same order. Gradients of tokens travel the
other way, and those of an expert are complete where it is, but for the ranks that hold the same experts.

Axes: T tokens, K experts of a token, E experts of a layer, E_local experts of this rank, D model width, I expert width.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed._functional_collectives import all_to_all_single_autograd
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard

from grpo.training.sharding.mesh import Ranks
from policies.experts import (
    FUSED,
    adapters_of,
    expert_outputs,
    inverse,
    linears,
    sorted_by_expert,
    weighted_sum,
)
from policies.lora_experts import expert_modules
from policies.model import HfModel


def shard_experts(model: nn.Module, ranks: Ranks) -> list[FSDPModule]:
    """Share out the routed experts of every layer, in place; returns the wrapped modules.

    Args:
        model: a policy with routed experts, equal on all ranks.
        ranks: this rank's groups, with an expert axis.
    """
    assert ranks.experts is not None
    mesh, group = ranks.experts["expert"], ranks.experts.get_group("expert")
    holders = (
        ranks.experts["replicate", "expert_parts"]
        if ranks.mesh.replicate > 1
        else ranks.experts["expert_parts"]
    )
    wrapped = []
    for _, experts in expert_modules(model):
        for name in FUSED:
            setattr(experts, name, _own_experts(getattr(experts, name), mesh))
        for pair in adapters_of(experts):
            for name in FUSED:
                pair[name] = _own_experts(pair[name], mesh)
        experts.expert_group = group
        experts.forward = MethodType(_forward, experts)
        wrapped.append(
            fully_shard(
                experts, mesh=holders, reshard_after_forward=True, shard_placement_fn=_divide_widths(experts)
            )
        )
    return wrapped


def _divide_widths(experts: HfModel) -> Callable[[nn.Parameter], Shard]:
    """Return along which axis each tensor is divided: a width, for there may be more holders than experts on a rank.

    An adapter's A has its rank where the other tensors have a width.
    """
    firsts = {id(tensor) for pair in adapters_of(experts)[:1] for tensor in pair.values()}
    return lambda parameter: Shard(2 if id(parameter) in firsts else 1)


def _own_experts(parameter: nn.Parameter, mesh: DeviceMesh) -> nn.Parameter:
    own = parameter.detach().chunk(mesh.size())[mesh.get_local_rank()].clone()
    divided = DTensor.from_local(
        own, mesh, [Shard(0)], run_check=False, shape=parameter.shape, stride=parameter.stride()
    )
    return nn.Parameter(divided, requires_grad=parameter.requires_grad)


def _forward(self: HfModel, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """Compute (T, D) outputs of (T, D) states, (T, K) chosen experts and their (T, K) weights; a collective."""
    group = self.expert_group
    sorted_rows, chosen, back = sorted_by_expert(hidden_states, top_k_index)
    sent = chosen.bincount(minlength=self.num_experts).view(dist.get_world_size(group), -1)
    received = torch.empty_like(sent)
    dist.all_to_all_single(received, sent, group=group)
    sent_rows, received_rows = sent.sum(1).tolist(), received.sum(1).tolist()
    rows = all_to_all_single_autograd(sorted_rows, received_rows, sent_rows, group)
    # Rows come sorted by rank, then by expert.
    local = torch.arange(received.shape[1], device=rows.device).repeat(len(received))
    by_expert = local.repeat_interleave(received.flatten()).argsort(stable=True)
    ends = received.sum(0).cumsum(0).int()
    computed = expert_outputs(rows[by_expert], ends, *linears(self), self.act_fn)[inverse(by_expert)]
    returned = all_to_all_single_autograd(computed, sent_rows, received_rows, group)
    return weighted_sum(returned.index_select(0, back), top_k_weights, hidden_states.dtype)
