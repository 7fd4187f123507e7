"""The engine's side of a weight update: loads a stream of windows into a running vLLM model.

vLLM runs `WeightReceiver` in its worker. Nothing is scheduled between the calls of one stream, so no token is computed
while some parameters are old and others new. The steps, each with the vLLM behaviour that makes it necessary in its
docstring:

    rebuild_moe_kernels → spare_embeddings → begin_reload → (load → keep_pending → read back) × windows
    → finish_reload → refresh_heads

The prefix cache, which holds keys and values of the old weights, belongs to the scheduler: `VllmEngine` empties it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # of vLLM's model config and weight loaders, which are not typed

import torch
from torch import Tensor, nn

from rollout.adapter_base import BaseWeights
from rollout.errors import WeightSyncError
from rollout.publication import READ_BACK_PARTS, Head, Tail, Window
from rollout.receiver import Receiver
from rollout.vllm_loaders import LoaderWatch
from rollout.vllm_readback import ReadBack
from rollout.vllm_types import ModelRunner

EMBEDDING = "embed_tokens.weight"
HEAD = "lm_head.weight"


@dataclass(frozen=True)
class LoadReport:
    """What the worker says about a stream that it has loaded."""

    tensors: int
    read_back: int
    """Tensors that were found in the engine's parameters, bit for bit."""
    packed: tuple[str, ...]
    """Tensors of which the engine keeps a packed form alone; of matrices some columns were compared."""
    uncovered: tuple[str, ...]
    """Tensors of which nothing could be compared, or from which the engine computes others."""


class WeightReceiver:
    """Mixed into vLLM's worker class (`worker_extension_cls`); `model_runner` is the worker's."""

    model_runner: ModelRunner
    _stream: StreamLoad | None = None

    def begin_weights(self, head: Head, reader: str, part: tuple[int, int]) -> None:
        """Start to load a stream; one that was broken off is ended first.

        Args:
            head: its start.
            reader: this engine's name among the stream's readers.
            part: (i, n): the i-th of n parts of the tensors is read back; (0, 1): all.

        Raises:
            WeightSyncError: the writer cannot be reached, or the base of adapters cannot be read.
        """
        if self._stream is not None:
            self._stream.abandon()
        config = self.model_runner.model_config
        base = None if head.base is None else BaseWeights(head.base, Path(config.model))
        receiver = Receiver(head, head.channel.connect(reader))
        self._stream = StreamLoad(self.model_runner.get_model(), config, receiver, part, base)

    def load_window(self, window: Window) -> None:
        """Load a window; its memory may be written over afterwards. What is wrong comes with `finish_weights`."""
        assert self._stream is not None, "begin_weights() comes first"
        self._stream.window(window)

    def finish_weights(self, tail: Tail) -> LoadReport:
        """End the stream.

        Raises:
            WeightSyncError: a tensor is missing, unexpected or corrupted, or the model does not hold it.
        """
        assert self._stream is not None, "begin_weights() comes first"
        stream, self._stream = self._stream, None
        return stream.finish(tail)


class StreamLoad:
    """Replaces every weight of a running model by those of one stream."""

    def __init__(
        self,
        model: nn.Module,
        model_config: object,
        receiver: Receiver,
        part: tuple[int, int],
        base: BaseWeights | None = None,
    ) -> None:
        """Prepare the model.

        Args:
            model: vLLM's model.
            model_config: vLLM's model config, for the attention layers' dtype and the tied head.
            receiver: of the stream.
            part: (i, n): the i-th of n parts of the tensors is read back.
            base: what the stream's adapters are added to; None: the stream holds all weights.
        """
        self._model, self._config, self._receiver, self._base = model, model_config, receiver, base
        self._error: WeightSyncError | None = None
        chosen = {name for i, name in enumerate(receiver.head.delivered) if i % part[1] == part[0]}
        rebuild_moe_kernels(model)
        spare_embeddings(model)
        begin_reload(model)
        self._read_back = ReadBack(chosen, receiver.head.version // READ_BACK_PARTS)
        self._watch = LoaderWatch(model, self._read_back.note)

    @torch.no_grad()
    def window(self, window: Window) -> None:
        """Load one window; what is wrong is kept for `finish`."""
        tensors, verdict = self._receiver.open(window)
        try:
            if self._error is None:
                self._load_all([tensors] if self._base is None else self._base.add(tensors))
        except WeightSyncError as error:
            self._error = error
        finally:
            self._receiver.problems += verdict.result()

    def _load_all(self, groups: Iterable[Mapping[str, Tensor]]) -> None:
        skipped = {HEAD} if ties_head(self._config) else set()
        for tensors in groups:
            self._watch.load({n: t for n, t in tensors.items() if n not in skipped})
            keep_pending(self._watch.touched)
            self._read_back.compare()

    @torch.no_grad()
    def finish(self, tail: Tail) -> LoadReport:
        """Check that the model holds all of the stream and nothing else.

        Raises:
            WeightSyncError: it does not; the message names every tensor.
        """
        try:
            if self._base is not None and self._error is None:
                self._load_all(self._base.rest())
            unfilled = unfilled_layers(self._model, self._config, self._watch.parameters)
        finally:
            self.abandon()
        if ties_head(self._config):
            refresh_heads(self._model)
        self._receiver.finish(tail)
        if self._error is not None:
            raise self._error
        read_back = self._read_back
        read_back.compare()
        check_tied_head(self._config, self._receiver.digests)
        loaded = self._watch.names | ({HEAD} if ties_head(self._config) else set())
        problems = [
            f"{name} is no tensor of the model"
            for name in self._receiver.head.delivered
            if name not in loaded
        ]
        problems += [f"{layer} got {got:,} of {size:,} elements" for layer, (got, size) in unfilled.items()]
        problems += read_back.problems
        if problems:
            raise WeightSyncError("the engine did not load the published weights: " + "; ".join(problems))
        return LoadReport(
            tensors=len(self._receiver.head.delivered),
            read_back=len(read_back.equal),
            packed=tuple(sorted(read_back.packed)),
            uncovered=tuple(sorted(read_back.uncovered)),
        )

    def abandon(self) -> None:
        """End the reload, after an error too, so that a later stream can be loaded."""
        self._watch.end()
        finish_reload(self._model, self._config)
        self._receiver.close()


def check_tied_head(model_config: object, digests: Mapping[str, str]) -> None:
    """Check that a published head of a policy that ties it is the embedding.

    Raises:
        WeightSyncError: the head differs from the embedding, so the engine would compute with another one.
    """
    if ties_head(model_config) and HEAD in digests:
        embedding = next((d for name, d in digests.items() if name.endswith(EMBEDDING)), None)
        if digests[HEAD] != embedding:
            raise WeightSyncError(f"{HEAD} differs from the embedding, but the engine's config ties the two")


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


def spare_embeddings(model: nn.Module) -> None:
    """Keep vLLM from packing an embedding for products that nothing computes, and drop what it packed at the start.

    On a CPU it packs every embedding, since some models have one module for embedding and head; in all others the pack
    is a second copy of the embedding, made anew at each reload.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

    if not _on_cpu(model):
        return
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, VocabParallelEmbedding) and not isinstance(module, ParallelLMHead):
            names.setdefault(module, []).append(name)
    for module, found in names.items():
        if all(f"{name}.weight".endswith(EMBEDDING) for name in found):
            method: Any = module.quant_method
            method.process_weights_after_loading = _leave_as_it_is
            module.__dict__.pop("cpu_linear", None)


def _leave_as_it_is(layer: nn.Module) -> None:
    """Stand in for a packing that is not needed."""


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
    """Pack tied output heads: such a head owns no parameter, so the reload skips it."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)


def keep_pending(layers: Iterable[nn.Module]) -> None:
    """Copy what vLLM still refers to in a window: the tensors of layers that it has not packed yet.

    It packs a layer as soon as the layer is complete, and an embedding with padded rows only at the end of the reload.
    """
    from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info

    for layer in layers:
        for _, bound in get_layerwise_info(layer).loaded_weights:
            for key, value in bound.arguments.items():
                if isinstance(value, Tensor) and not value.is_meta and not hasattr(value, "kept"):
                    bound.arguments[key] = value.clone()
                    bound.arguments[key].kept = True


def unfilled_layers(
    model: nn.Module, model_config: object, written: Container[int]
) -> dict[str, tuple[int, int]]:
    """Return layers and buffers that received fewer elements than they hold: {name: (received, held)}.

    `written` has the id() of every parameter that a loader wrote to.

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
        if name.rpartition(".")[2] in SKIP_LOAD_TENSORS and id(parameter) not in written:
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
