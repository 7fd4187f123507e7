"""Expert parallelism: the routed experts of a layer are shared out over ranks, and the tokens travel to them.

    shard_experts(model, ranks)      in place, before the layers are wrapped

Each token is sent to the ranks that hold its chosen experts (all-to-all), computed there together with the tokens of
the other ranks, and sent back; the weighted sum is the one of transformers' own loop, in the same order. Gradients of
tokens travel the other way, and those of an expert are complete where it is, but for the ranks that hold the same
experts.

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
from policies.lora_experts import NAMES, Linear, adapters_of, expert_modules, expert_output
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
        for name in NAMES:
            setattr(experts, name, _own_experts(getattr(experts, name), mesh))
        for pair in adapters_of(experts):
            for name in NAMES:
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
    chosen = top_k_index.reshape(-1)
    order = chosen.argsort(stable=True)
    token = order // top_k_index.shape[1]
    sent = chosen.bincount(minlength=self.num_experts).view(dist.get_world_size(group), -1)
    received = torch.empty_like(sent)
    dist.all_to_all_single(received, sent, group=group)
    sent_rows, received_rows = sent.sum(1).tolist(), received.sum(1).tolist()
    rows = all_to_all_single_autograd(hidden_states[token], received_rows, sent_rows, group)
    # Rows come sorted by rank, then by expert.
    local = torch.arange(received.shape[1], device=rows.device).repeat(len(received))
    by_expert = local.repeat_interleave(received.flatten()).argsort(stable=True)
    pieces = rows[by_expert].split(received.sum(0).tolist())
    experts = zip(*(_local_linears(self, name) for name in NAMES), strict=True)
    outputs = [
        expert_output(piece, gate_up, down, self.act_fn)
        for piece, (gate_up, down) in zip(pieces, experts, strict=True)
    ]
    computed = torch.cat(outputs)[by_expert.argsort()]
    returned = all_to_all_single_autograd(computed, sent_rows, received_rows, group)
    weighted = returned * top_k_weights.reshape(-1)[order, None]
    return torch.zeros_like(hidden_states).index_add(0, token, weighted.to(hidden_states.dtype))


def _local_linears(experts: HfModel, name: str) -> list[Linear]:
    """Return this rank's experts of one fused tensor, each with its adapter if it has one."""
    weights = getattr(experts, name).to_local().unbind()
    adapters = [pair[name].to_local().unbind() for pair in adapters_of(experts)]
    if not adapters:
        return [(weight, None) for weight in weights]
    first, second = adapters
    return [(w, (a, b, experts.lora_scale)) for w, a, b in zip(weights, first, second, strict=True)]
