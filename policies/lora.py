"""LoRA (2106.09685) with peft: W + (α/r) B A with W frozen. The policy remains the same transformers model.

    add_adapters(model, rank=16, alpha=32, targets=(), seed=0)      A random, B zero: the policy is unchanged
    store_frozen(model, torch.bfloat16)                             W in half the memory
    plain_state(model)                                              its tensors with the adapters merged
    save_adapter(model, folder, base), load_adapter(model, folder)  peft's files (policies/adapters.py)

The learner computes with B A added to W; engines and exports get the sum. There is no dropout: the learner's
probabilities would differ from the engine's, and a resumed run from an uninterrupted one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from policies import lora_experts
from policies.adapters import ADAPTER_FILE, CONFIG_FILE, EXPERTS, FINGERPRINT, PREFIX
from policies.errors import BrokenCheckpoint, PolicyError
from policies.experts import FUSED
from policies.json_types import JsonDict
from policies.model import HfModel
from policies.mtp import is_mtp_tensor
from policies.router import routers
from policies.shards import DividedRows, fill, gathered, in_rows, local, proven_whole, whole

GatheredT = TypeVar("GatheredT")
_NAME = "default"
_BASE, _MARK = ".base_layer.", ".lora_"


def add_adapters(model: HfModel, rank: int, alpha: float, targets: Sequence[str], seed: int) -> None:
    """Freeze the model and add adapters to linear layers, in place.

    Args:
        model: a policy of `load_policy`.
        rank: r, the rank of B A.
        alpha: α; B A is scaled by α/r.
        targets: names of linear layers in a checkpoint, e.g. "q_proj" or MLA's "kv_b_proj"; "experts" stands for the
            routed experts; empty: all linear layers of the decoder but the routed experts. Layers of multi-token
            prediction never get adapters.
        seed: seed of the A matrices.

    Raises:
        PolicyError: the policy lacks a target; the message names the layers that it has.
    """
    # Only the main layers: given a whole DeepSeek policy, peft mistakes the names of a shared expert's layers for the
    # fused routed experts and leaves the shared expert out.
    layers = model.get_decoder().layers[: model.config.num_hidden_layers]
    has_experts = any(True for _ in lora_experts.expert_modules(layers))
    found = linear_layers(model)
    names = sorted({name.rpartition(".")[2] for name in found})
    known = [*names, EXPERTS] if has_experts else names
    unknown = [t for t in targets if t not in known]
    if unknown:
        raise PolicyError(
            f"policy.lora.targets: no linear layer named {unknown[0]!r}; there are {', '.join(known)}"
        )
    from peft import LoraConfig, inject_adapter_in_model

    model.requires_grad_(False)
    linear = sorted(set(targets or names) - {EXPERTS})
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # peft only divides it by r
        target_modules=linear,
        target_parameters=[f"mlp.experts.{name}" for name in FUSED] if EXPERTS in targets else None,
        task_type="CAUSAL_LM",
    )
    if linear:
        own = LoraConfig(r=rank, lora_alpha=alpha, target_modules=linear)  # type: ignore[arg-type]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(own, layers, adapter_name=_NAME)
    if EXPERTS in targets:
        lora_experts.add_expert_adapters(layers, rank, alpha)
    model.lora_config = config
    for module in _adapted(model).values():
        # Autocast casts the input; peft would cast it to float32 first.
        module.cast_input_dtype_enabled = False
    model.eval()
    if not any(tensor.is_meta for name, tensor in model.state_dict().items() if _MARK in name):
        draw_adapters(model, seed)


@torch.no_grad()
def draw_adapters(model: nn.Module, seed: int) -> None:
    """Draw the A matrices as peft does and set B to zero; for adapters that were added without memory."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in _adapted(model).values():
            first, second = (matrices[_NAME].weight for matrices in (layer.lora_A, layer.lora_B))
            # peft makes two linear layers, which draw values of their own, and then draws A.
            for weight in (first, second, first):
                drawn = nn.init.kaiming_uniform_(torch.empty(weight.shape), a=math.sqrt(5))
            fill(first, drawn)
            local(second).zero_()
        lora_experts.draw_expert_adapters(model)


def store_frozen(model: HfModel, dtype: torch.dtype) -> None:
    """Store the frozen matrices of layers and head in this type.

    Embedding (with a head that is tied to it), routers and norms stay float32, as a forward under autocast uses them.
    """
    kept = {id(model.get_input_embeddings().weight), *(id(router.weight) for _, router in routers(model))}
    for parameter in model.parameters():
        if not parameter.requires_grad and parameter.ndim >= 2 and id(parameter) not in kept:
            parameter.data = parameter.data.to(dtype)


def linear_layers(model: HfModel) -> list[str]:
    """Return module names of the linear layers that may get an adapter."""
    main = model.config.num_hidden_layers
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.startswith("model.layers.")
        and not is_mtp_tensor(name, main)
    ]


def has_adapters(model: nn.Module) -> bool:
    """Return True after `add_adapters`."""
    return hasattr(model, "lora_config")


def own_name(name: str) -> str | None:
    """Return a tensor's name without the adapters around it; None for an adapter's own."""
    return None if _MARK in name else name.replace(_BASE, ".")


def plain_state(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the model's state dict in float32, with the adapters merged into its weights.

    Float32 tensors without an adapter are views; the others are new memory, created one at a time. Of a policy that is
    divided over ranks each tensor is gathered when its turn comes: all ranks run through the iterator together.
    """
    return _plain_state(model, lambda name, tensor: proven_whole(name, tensor).float())


def plain_rows(model: nn.Module) -> Iterator[tuple[str, Tensor | DividedRows]]:
    """Yield `plain_state` for a file: large matrices by rows (`policies.shards.in_rows`), in the dtype stored."""
    return _plain_state(model, in_rows)


def _plain_state(
    model: nn.Module, gather: Callable[[str, Tensor], GatheredT]
) -> Iterator[tuple[str, Tensor | GatheredT]]:
    adapted, experts = _adapted(model), dict(lora_experts.adapted_experts(model))
    for name, tensor in model.state_dict().items():
        prefix, base, rest = name.partition(_BASE)
        owner, _, last = name.rpartition(".")
        if base and rest == "weight":
            with torch.no_grad():
                yield f"{prefix}.weight", proven_whole(name, tensor).float() + _delta(adapted[prefix])
        elif owner in experts and last in FUSED:
            with torch.no_grad():
                yield name, proven_whole(name, tensor).float() + lora_experts.delta(experts[owner], last)
        elif base:
            yield f"{prefix}.{rest}", gather(name, tensor)
        elif _MARK not in name:
            yield name, gather(name, tensor)


def frozen_state(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what `plain_state` adds the adapters to, each tensor in the dtype in which it is stored; a collective."""
    for name, tensor in model.state_dict().items():
        if (own := own_name(name)) is not None:
            yield own, proven_whole(name, tensor)


def adapter_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the adapters by the names under which they travel to engines (rollout/adapter_base.py); a collective."""
    for name, tensor in model.state_dict().items():
        if _MARK in name:
            yield name.replace(f".{_NAME}.", "."), proven_whole(name, tensor)


def save_adapter(
    model: HfModel, folder: Path, base: str, *, fingerprint: str | None = None, writes: bool = True
) -> None:
    """Write the adapter in peft's format (for PeftModel.from_pretrained), into a folder that may exist.

    The ranks of a divided policy call it together, and one of them writes.

    Args:
        model: a policy after `add_adapters`.
        folder: destination of adapter_model.safetensors and adapter_config.json.
        base: folder or hub name of the policy that the adapter belongs to.
        fingerprint: of that policy's weights (policies/adapters.py), by which it is known again.
        writes: False on a rank that only takes part in gathering.
    """
    tensors = gathered(_adapter(model).items(), writes)
    tensors |= gathered(lora_experts.to_file(model), writes)
    if not writes:
        return
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt"} | ({} if fingerprint is None else {FINGERPRINT: fingerprint})
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, folder / ADAPTER_FILE, metadata
    )
    (folder / ADAPTER_FILE).chmod(0o644)  # safetensors writes files that their owner alone can read
    config = model.lora_config.to_dict() | {"base_model_name_or_path": base, "inference_mode": True}
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    (folder / CONFIG_FILE).write_text(json.dumps(plain, indent=2, default=str) + "\n")


def load_adapter(model: HfModel, folder: Path) -> None:
    """Copy an adapter's file, of `save_adapter` or peft, into the live adapters, either all tensors or none.

    Raises:
        BrokenCheckpoint: a file cannot be read, or the adapter has another shape or other layers.
    """
    try:
        saved = load_file(folder / ADAPTER_FILE)
    except (OSError, SafetensorError) as error:
        raise BrokenCheckpoint(f"{folder / ADAPTER_FILE}: cannot be read ({error})") from error
    own = _adapter(model)
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()} | lora_experts.file_shapes(model)
    wrong = [n for n in shapes.keys() | saved.keys() if n not in shapes or n not in saved]
    wrong += [n for n in shapes if n in saved and shapes[n] != tuple(saved[n].shape)]
    if wrong:
        raise BrokenCheckpoint(f"{folder}: the adapter does not fit policy.lora: {sorted(wrong)[0]}")
    with torch.no_grad():
        for name, tensor in own.items():
            fill(tensor, saved[name])
        for tensor, value in lora_experts.from_file(model, saved):
            fill(tensor, value)


def _adapted(model: nn.Module) -> JsonDict:
    return {name: m for name, m in model.named_modules() if hasattr(m, "get_delta_weight")}


def _delta(layer: HfModel) -> Tensor:
    """Return α/r · B A of an adapted layer, as peft's get_delta_weight does for a linear layer."""
    first, second = (whole(matrices[_NAME].weight) for matrices in (layer.lora_A, layer.lora_B))
    delta: Tensor = (second @ first) * layer.scaling[_NAME]
    return delta


def _adapter(model: nn.Module) -> dict[str, Tensor]:
    """Return the live tensors of the linear layers' adapters by their names in peft's files."""
    return {
        PREFIX + name.replace(f".{_NAME}.", "."): tensor
        for name, tensor in model.state_dict().items()
        if _MARK in name and f".{_NAME}." in name
    }
