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
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from rollout.errors import WeightSyncError
from rollout.weights import Publication, read_and_verify

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
    consumed = load(model, tensors)
    unfilled = unfilled_layers(model)
    finish_reload(model, model_config)
    refresh_heads(model)

    faults = [f"{name} has no place in the model" for name in tensors if name not in consumed]
    faults += [f"{layer} got {got:,} of {size:,} elements" for layer, (got, size) in unfilled.items()]
    if faults:
        raise WeightSyncError("the engine did not take the published weights: " + "; ".join(faults))


def without_tied_head(model_config: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the head of a policy that ties it to the embedding, once it is proven to be the same.

    Raises:
        WeightSyncError: the head differs: the learner has untied it, and the engine would never see it.
    """
    result = dict(tensors)
    if not getattr(model_config.hf_text_config, "tie_word_embeddings", False) or HEAD not in result:
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


def load(model: nn.Module, tensors: Mapping[str, Tensor]) -> set[str]:
    """Feed the model's own `load_weights`; returns the names that reached a parameter.

    vLLM skips names that it does not know without a word, so every parameter's loader notes whose bytes it is
    given.
    """
    consumed: set[str] = set()
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
            consumed.add(owner.get(weight.data_ptr(), current))
            return loader(parameter, weight, *args, **kwargs)

        return note

    from vllm.model_executor.model_loader.weight_utils import default_weight_loader

    plain = []
    for parameter in model.parameters():
        loader = getattr(parameter, "weight_loader", None)
        if loader is None:
            plain.append(parameter)
        parameter.weight_loader = observed(loader or default_weight_loader)  # type: ignore[attr-defined]
    try:
        model.load_weights(stream())  # type: ignore[operator]
    except Exception as error:
        raise WeightSyncError(f"the engine cannot load {current}: {error}") from error
    finally:
        for parameter in plain:
            if hasattr(parameter, "weight_loader"):
                del parameter.weight_loader
    return consumed


def unfilled_layers(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Layers that got fewer elements than they hold: {name: (got, held)}. To be asked before `finish_reload`,
    which would fill the gap with old weights."""
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
    from vllm.model_executor.model_loader.reload.layerwise import (
        get_layerwise_info,
        is_deferred_attention_layer,
    )

    result = {}
    for name, layer in model.named_modules():
        info = get_layerwise_info(layer)
        if not info.can_load() or is_deferred_attention_layer(layer):
            continue  # complete already; or scales of a quantised cache, which no checkpoint of ours holds
        size = sum(p.numel() for p in layer.parameters(recurse=False))
        if isinstance(layer, VocabParallelEmbedding):  # padded to a multiple of 64 rows
            rows = layer.num_org_embeddings_per_partition
            size = sum(p[:rows].numel() for p in layer.parameters(recurse=False))
        if info.load_numel < size:
            result[name] = (info.load_numel, size)
    return result


def _on_cpu(model: nn.Module) -> bool:
    return next(model.parameters()).device.type == "cpu"
