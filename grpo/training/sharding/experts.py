"""Expert parallelism: the routed experts of a layer are shared out over ranks, and the tokens travel to them.

    shard_experts(model, ranks)      in place, before the layers are wrapped

Each token is sent to the ranks that hold its chosen experts (all-to-all), computed there together with the tokens of
the other ranks, and sent back; the weighted sum is the one of transformers' own loop, in the same order. Gradients of
tokens travel the other way, and those of an expert are complete where it is, but for the ranks that hold the same
experts.

Axes: T tokens, K experts of a token, E experts of a layer, E_local experts of this rank, D model width, I expert width.
"""

from __future__ import annotations

from types import MethodType

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed._functional_collectives import all_to_all_single_autograd
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard

from grpo.training.sharding.mesh import Ranks
from policies.model import HfModel

_NAMES = ("gate_up_proj", "down_proj")


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
    for experts in find_experts(model):
        for name in _NAMES:
            setattr(experts, name, _own_experts(getattr(experts, name), mesh))
        experts.expert_group = group
        experts.forward = MethodType(_forward, experts)
        # Divided along the width of an expert: there may be more holders than experts on a rank.
        wrapped.append(
            fully_shard(
                experts, mesh=holders, reshard_after_forward=True, shard_placement_fn=lambda _: Shard(1)
            )
        )
    return wrapped


def find_experts(model: nn.Module) -> list[HfModel]:
    """Return the module of routed experts of every layer that has one."""
    return [m for m in model.modules() if all(isinstance(getattr(m, n, None), nn.Parameter) for n in _NAMES)]


def _own_experts(parameter: nn.Parameter, mesh: DeviceMesh) -> nn.Parameter:
    own = parameter.detach().chunk(mesh.size())[mesh.get_local_rank()].clone()
    divided = DTensor.from_local(
        own, mesh, [Shard(0)], run_check=False, shape=parameter.shape, stride=parameter.stride()
    )
    return nn.Parameter(divided, requires_grad=parameter.requires_grad)


def _forward(self: HfModel, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """Compute (T, D) outputs of (T, D) states, (T, K) chosen experts and their (T, K) weights; a collective."""
    group = self.expert_group
    gate_up, down = (getattr(self, name).to_local() for name in _NAMES)
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
    outputs = [
        _expert(self, piece, first, second)
        for piece, first, second in zip(pieces, gate_up.unbind(), down.unbind(), strict=True)
    ]
    computed = torch.cat(outputs)[by_expert.argsort()]
    returned = all_to_all_single_autograd(computed, sent_rows, received_rows, group)
    weighted = returned * top_k_weights.reshape(-1)[order, None]
    return torch.zeros_like(hidden_states).index_add(0, token, weighted.to(hidden_states.dtype))


def _expert(self: HfModel, rows: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    gate, up = F.linear(rows, gate_up).chunk(2, dim=-1)
    return F.linear(self.act_fn(gate) * up, down)
