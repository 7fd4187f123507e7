"""Divides a policy over the ranks of its copy with FSDP2.

    shard_policy(model, ranks)       in place: parameters become DTensors, one part per rank
    reshard(model)                   frees gathered layers; needed after a pass without a gradient

Each decoder layer is gathered when it computes, and its gradient is summed and divided as soon as it is known. The
final norm belongs to the decoder, the root. Embedding and head stand outside FSDP: log-probs read the head's weight
itself, a tied one is both, and multi-token prediction reads them again, none of which is a module's forward. They are
DTensors that `policies.shards.whole` gathers where they are used; autograd sums their gradients.
"""

from __future__ import annotations

from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard

from grpo.training.sharding.experts import shard_experts
from grpo.training.sharding.mesh import Ranks
from policies.context import divide_tokens_among
from policies.model import HfModel, causal_lm
from policies.shards import whole


def shard_policy(model: nn.Module, ranks: Ranks) -> None:
    """Divide every parameter over the ranks of a copy, and the tokens over those of a context axis, in place.

    Nothing happens with one rank.

    Parameters stay float32, and so do gathered layers and the sums of gradients: routers and norms are float32 under
    autocast too. Buffers stay whole.

    Args:
        model: a policy, equal on all ranks; adapters and recomputation are already applied.
        ranks: this rank's groups.
    """
    if ranks.copy is None:
        return
    if ranks.context is not None:
        divide_tokens_among(model, ranks.context)
    mesh = ranks.copy if ranks.mesh.replicate > 1 else ranks.copy["shard"]
    base = causal_lm(model)
    embedding, head = base.get_input_embeddings(), base.get_output_embeddings()
    tied = head.weight is embedding.weight
    embedding.weight = _divided(embedding.weight, mesh)
    head.weight = embedding.weight if tied else _divided(head.weight, mesh)
    embedding.forward = MethodType(_embed, embedding)  # type: ignore[method-assign]
    decoder: HfModel = base.get_decoder()
    wrapped = shard_experts(decoder, ranks) if ranks.experts is not None else []
    for layer in decoder.layers:
        wrapped.append(fully_shard(layer, mesh=mesh, reshard_after_forward=True))
    root = fully_shard(decoder, mesh=mesh, reshard_after_forward=True, ignored_params={embedding.weight})
    for module in (*wrapped, root):
        # The loss has the denominators of the whole batch, so gradients are summed. gloo has no sum with a factor.
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)


def reshard(model: nn.Module) -> None:
    """Free every gathered layer.

    After a pass without a gradient FSDP2 may keep the root's weights gathered, and the next pass would compute with
    them, whatever the optimizer wrote since.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def _divided(parameter: Tensor, mesh: DeviceMesh) -> nn.Parameter:
    """Return the parameter with this rank's rows alone; ranks must hold the same values."""
    placements: list[Placement] = [Replicate()] * (mesh.ndim - 1) + [Shard(0)]
    parts = torch.chunk(parameter.detach(), mesh.size(-1), dim=0)
    index = mesh.get_local_rank(mesh.ndim - 1)
    own = parts[index].clone() if index < len(parts) else parameter.detach()[:0].clone()
    divided = DTensor.from_local(
        own, mesh, placements, run_check=False, shape=parameter.shape, stride=parameter.stride()
    )
    return nn.Parameter(divided, requires_grad=parameter.requires_grad)


def _embed(self: nn.Embedding, input_ids: Tensor) -> Tensor:
    return F.embedding(input_ids, whole(self.weight), self.padding_idx)
