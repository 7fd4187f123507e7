"""The engine's side of a weight sync: published tensors into a running vLLM model.

vLLM runs `WeightReceiver.receive_weights` in its worker, in one call: nothing may be scheduled while
parameters are in between. The order below is the whole recipe; each cure stands in a function of its own,
with the trap it cures.

    read_and_verify → rebuild_moe_kernels → begin_reload → load → finish_reload → refresh_heads

(The prefix cache, which holds keys and values of the old weights, belongs to the scheduler:
`VllmEngine.load_weights`.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from rollout.errors import WeightSyncError
from rollout.publication import Publication
from rollout.weights import read_and_verify

EMBEDDING = "embed_tokens.weight"
HEAD = "lm_head.weight"


class WeightReceiver:
    """Mixed into vLLM's worker class (`worker_extension_cls`); `model_runner` is the worker's."""

    model_runner: Any

    def receive_weights(self, publication: Publication) -> int:
        """Load a publication; returns the number of tensors.

        Raises:
            WeightSyncError: a tensor is missing, unexpected, corrupted, or not what the model has room for.
        """
        tensors = read_and_verify(publication)
        load_into(self.model_runner.get_model(), self.model_runner.model_config, tensors)
        return len(tensors)


@torch.no_grad()
def load_into(model: nn.Module, model_config: Any, tensors: Mapping[str, Tensor]) -> None:
    """Replace every weight of a running model.

    Args:
        model: vLLM's.
        model_config: vLLM's, for the attention layers' dtype.
        tensors: by Hugging Face checkpoint name.

    Raises:
        WeightSyncError: the model ignored a name, or lacks weights afterwards.
    """
    tensors = without_tied_head(model_config, tensors)
    rebuild_moe_kernels(model)
    begin_reload(model)
    try:
        loaded = load(model, tensors)
        unfilled = unfilled_layers(model, model_config, loaded)
    finally:
        finish_reload(model, model_config)  # after an error too: a later publication can then still be loaded
    refresh_heads(model)

    faults = [f"{name} has no place in the model" for name in tensors if name not in loaded.names]
    faults += [f"{layer} got {got:,} of {size:,} elements" for layer, (got, size) in unfilled.items()]
    if faults:
        raise WeightSyncError("the engine did not take the published weights: " + "; ".join(faults))


def without_tied_head(model_config: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the head of a policy that ties it to the embedding, once it is proven to be the same.

    Raises:
        WeightSyncError: the head differs: the learner has untied it, and the engine would never see it.
    """
    result = dict(tensors)
    if not ties_head(model_config) or HEAD not in result:
        return result
    head = result.pop(HEAD)
    embedding = next((t for name, t in result.items() if name.endswith(EMBEDDING)), None)
    if embedding is None or not torch.equal(head, embedding):
        raise WeightSyncError(f"{HEAD} differs from the embedding, but the engine's config ties the two")
    return result


def rebuild_moe_kernels(model: nn.Module) -> None:
    """Trap: the CPU's experts keep a prepacked copy of their weights inside the kernel, and vLLM skips
    packing when a kernel exists, so a reload would leave the old experts in use. Without a kernel it packs
    anew."""
    if not _on_cpu(model):  # a GPU kernel reads the parameters themselves, at addresses that CUDA graphs hold
        return
    for module in model.modules():
        method: Any = getattr(module, "quant_method", None)
        if getattr(method, "moe_kernel", None) is not None:
            method.moe_kernel = None


def begin_reload(model: nn.Module) -> None:
    """Trap: linear weights were packed into oneDNN handles and the parameters emptied, so `load_weights` has
    nothing to write to. The layer-wise reload gives each layer its parameters back and packs it once it is
    complete."""
    from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

    initialize_layerwise_reload(model)


def finish_reload(model: nn.Module, model_config: Any) -> None:
    """The other half of `begin_reload`: whatever was not packed on the way."""
    from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

    finalize_layerwise_reload(model, model_config)


def refresh_heads(model: nn.Module) -> None:
    """Trap: a tied head owns no parameter, so the reload never visits it, but it did pack a copy of the
    embedding."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)


@dataclass
class Loaded:
    """What reached the model."""

    names: set[str] = field(default_factory=set)
    """Published names that were written to some parameter."""
    parameters: set[int] = field(default_factory=set)
    """id() of the parameters that were written to."""


def load(model: nn.Module, tensors: Mapping[str, Tensor]) -> Loaded:
    """Feed the model's own `load_weights`, noting what reaches a parameter: vLLM skips names that it does not
    know without a word."""
    from vllm.model_executor.model_loader.weight_utils import default_weight_loader

    loaded = Loaded()
    owner = {tensor.data_ptr(): name for name, tensor in tensors.items()}
    current = ""

    def stream() -> Iterator[tuple[str, Tensor]]:
        nonlocal current
        for name, tensor in tensors.items():
            current = name
            yield name, tensor

    def observed(loader: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(
            loader
        )  # keeps the name, by which the reload knows its own loaders, and __wrapped__, which it follows
        def note(parameter: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Any:
            loaded.names.add(owner.get(weight.data_ptr(), current))
            loaded.parameters.add(id(parameter))
            return loader(parameter, weight, *args, **kwargs)

        return note

    plain = []
    for parameter in model.parameters():
        loader = getattr(parameter, "weight_loader", None)
        if loader is None:
            plain.append(parameter)
        parameter.weight_loader = observed(loader or default_weight_loader)  # type: ignore[attr-defined]
    try:
        model.load_weights(stream())  # type: ignore[operator]
    except KeyError as error:
        raise WeightSyncError(f"the engine has no place for {current}") from error
    except Exception as error:
        raise WeightSyncError(f"the engine cannot load {current}: {error}") from error
    finally:
        for parameter in plain:
            if hasattr(parameter, "weight_loader"):
                del parameter.weight_loader
    return loaded


def unfilled_layers(model: nn.Module, model_config: Any, loaded: Loaded) -> dict[str, tuple[int, int]]:
    """Layers and buffers that got fewer elements than they hold: {name: (got, held)}. To be asked before
    `finish_reload`, which would fill the gap with old weights."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
    from vllm.model_executor.model_loader.reload.layerwise import (
        get_layerwise_info,
        is_deferred_attention_layer,
    )
    from vllm.model_executor.model_loader.reload.meta import SKIP_LOAD_TENSORS
    from vllm.model_executor.model_loader.reload.utils import get_tensor_load_numel

    result = {}
    for name, parameter in model.named_parameters():
        # Loaded past the layer-wise count: the router's correction bias.
        if name.rpartition(".")[2] in SKIP_LOAD_TENSORS and id(parameter) not in loaded.parameters:
            result[name] = (0, parameter.numel())
    for layer_name, layer in model.named_modules():
        info = get_layerwise_info(layer)
        if not info.can_load() or is_deferred_attention_layer(layer):
            continue  # complete already; or scales of a quantised cache, which no checkpoint of ours holds
        if isinstance(layer, ParallelLMHead) and ties_head(model_config):
            continue
        held = {name: p for name, p in layer.named_parameters(recurse=False) if name not in SKIP_LOAD_TENSORS}
        if isinstance(layer, VocabParallelEmbedding):  # padded to a multiple of 64 rows
            held = {name: p[: layer.num_org_embeddings_per_partition] for name, p in held.items()}
        size = sum(get_tensor_load_numel(p) for p in held.values())
        if info.load_numel < size:
            result[layer_name] = (info.load_numel, size)
    return result


def ties_head(model_config: Any) -> bool:
    """True if the policy's head is its embedding."""
    return bool(getattr(model_config.hf_text_config, "tie_word_embeddings", False))


def _on_cpu(model: nn.Module) -> bool:
    return next(model.parameters()).device.type == "cpu"
