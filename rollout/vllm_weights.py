"""The engine's side of a weight update: loads published tensors into a running vLLM model.

vLLM runs `WeightReceiver.receive_weights` in its worker, in one call, so nothing is scheduled while some parameters are
old and others new. The steps, each with the vLLM behaviour that makes it necessary in its docstring:

    read_and_verify → rebuild_moe_kernels → begin_reload → load → finish_reload → refresh_heads

The prefix cache, which holds keys and values of the old weights, belongs to the scheduler: `VllmEngine.load_weights`
empties it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any  # of vLLM's model config, worker and weight loaders, which are not typed

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
            WeightSyncError: a tensor is missing, unexpected or corrupted, or does not fit the model.
        """
        tensors = read_and_verify(publication)
        load_into(self.model_runner.get_model(), self.model_runner.model_config, tensors)
        return len(tensors)


@torch.no_grad()
def load_into(model: nn.Module, model_config: object, tensors: Mapping[str, Tensor]) -> None:
    """Replace every weight of a running model.

    Args:
        model: vLLM's model.
        model_config: vLLM's model config, for the attention layers' dtype.
        tensors: new weights by Hugging Face checkpoint name.

    Raises:
        WeightSyncError: the model ignored a tensor, or some of its weights were not replaced.
    """
    tensors = without_tied_head(model_config, tensors)
    rebuild_moe_kernels(model)
    begin_reload(model)
    try:
        loaded = load(model, tensors)
        unfilled = unfilled_layers(model, model_config, loaded)
    finally:
        finish_reload(model, model_config)  # after an error too, so that a later publication can be loaded
    refresh_heads(model)

    problems = [f"{name} is no tensor of the model" for name in tensors if name not in loaded.names]
    problems += [f"{layer} got {got:,} of {size:,} elements" for layer, (got, size) in unfilled.items()]
    if problems:
        raise WeightSyncError("the engine did not load the published weights: " + "; ".join(problems))


def without_tied_head(model_config: object, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the output head of a policy that ties it to the embedding, after a check that both are equal.

    Raises:
        WeightSyncError: the head differs from the embedding, so the engine would compute with another one.
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
    """Remove the experts' kernels on a CPU, so that vLLM packs their new weights.

    The kernel keeps a packed copy of the weights, and vLLM packs only when there is no kernel: a reload alone would
    leave the old experts in use.
    """
    if not _on_cpu(model):  # a GPU kernel reads the parameters, at addresses that CUDA graphs hold
        return
    for module in model.modules():
        method: Any = getattr(module, "quant_method", None)
        if getattr(method, "moe_kernel", None) is not None:
            method.moe_kernel = None


def begin_reload(model: nn.Module) -> None:
    """Start vLLM's layer-wise reload, which restores each layer's parameters and packs a layer when it is complete.

    On a CPU linear weights are packed into oneDNN handles and the parameters emptied, so `load_weights` alone would
    have no parameter to write to.
    """
    from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

    initialize_layerwise_reload(model)


def finish_reload(model: nn.Module, model_config: object) -> None:
    """End the reload of `begin_reload`: pack the layers that are not packed yet."""
    from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

    finalize_layerwise_reload(model, model_config)  # type: ignore[no-untyped-call]


def refresh_heads(model: nn.Module) -> None:
    """Pack the output heads again: a tied head owns no parameter, so the reload skips its packed embedding."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)


@dataclass
class Loaded:
    """Records which tensors reached the model."""

    names: set[str] = field(default_factory=set)
    """Published names that were written to some parameter."""
    parameters: set[int] = field(default_factory=set)
    """id() of the parameters that were written to."""


def load(model: nn.Module, tensors: Mapping[str, Tensor]) -> Loaded:
    """Call the model's `load_weights` and record what reaches a parameter: vLLM silently skips unknown names.

    Raises:
        WeightSyncError: vLLM cannot load a tensor; the message names it.
    """
    from vllm.model_executor.model_loader.weight_utils import default_weight_loader

    loaded = Loaded()
    owner = {tensor.data_ptr(): name for name, tensor in tensors.items()}
    current = ""

    def stream() -> Iterator[tuple[str, Tensor]]:
        nonlocal current
        for name, tensor in tensors.items():
            current = name
            yield name, tensor

    def observed(loader: Callable[..., object]) -> Callable[..., object]:
        # `wraps` keeps the name, by which the reload recognises its loaders, and __wrapped__, which it follows.
        @wraps(loader)
        def note(parameter: Tensor, weight: Tensor, *args: object, **kwargs: object) -> object:
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
        raise WeightSyncError(f"the engine's model has no tensor {current}") from error
    except Exception as error:
        raise WeightSyncError(f"the engine cannot load {current}: {error}") from error
    finally:
        for parameter in plain:
            if hasattr(parameter, "weight_loader"):
                del parameter.weight_loader
    return loaded


def unfilled_layers(model: nn.Module, model_config: object, loaded: Loaded) -> dict[str, tuple[int, int]]:
    """Return layers and buffers that received fewer elements than they hold: {name: (received, held)}.

    Call it before `finish_reload`, which fills the rest with old weights.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
    from vllm.model_executor.model_loader.reload.layerwise import (
        get_layerwise_info,
        is_deferred_attention_layer,
    )
    from vllm.model_executor.model_loader.reload.meta import SKIP_LOAD_TENSORS
    from vllm.model_executor.model_loader.reload.utils import get_tensor_load_numel

    result = {}
    for name, parameter in model.named_parameters():
        # The layer-wise count leaves these out: the router's correction bias.
        if name.rpartition(".")[2] in SKIP_LOAD_TENSORS and id(parameter) not in loaded.parameters:
            result[name] = (0, parameter.numel())
    for layer_name, layer in model.named_modules():
        info = get_layerwise_info(layer)
        if not info.can_load() or is_deferred_attention_layer(layer):
            continue  # complete already; or scales of a quantised cache, which no supported checkpoint holds
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
    """Return True if the policy's head is its embedding."""
    return bool(getattr(model_config.hf_text_config, "tie_word_embeddings", False))


def _on_cpu(model: nn.Module) -> bool:
    return next(model.parameters()).device.type == "cpu"
