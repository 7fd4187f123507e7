"""Watches vLLM's weight loaders during one stream: which published tensor went into which parameter of which layer.

    watch = LoaderWatch(model, on_call)       wraps every parameter's loader, once a stream
    for tensors in …: watch.load(tensors)     calls the model's load_weights
    watch.end()                               before the reload ends

vLLM silently skips tensors that no parameter takes, so what was loaded is known only from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any  # of vLLM's weight loaders, which are not typed

from torch import Tensor, nn

from rollout.errors import WeightSyncError
from rollout.vllm_readback import LoaderCall


@contextmanager
def _tied_once(known: dict[nn.Module, dict[str, str]]) -> Iterator[None]:
    """Let vLLM look for tied embeddings once a stream.

    Each of its calls of `load_weights`, one a window, walks through all modules twice for that, which takes as long as
    loading the window. What is tied does not change meanwhile.
    """
    from vllm.model_executor.models import utils

    look = utils._get_tied_embedding_params

    def remembered(module: nn.Module) -> dict[str, str]:
        if module not in known:
            known[module] = look(module)
        return known[module]

    utils._get_tied_embedding_params = remembered
    try:
        yield
    finally:
        utils._get_tied_embedding_params = look


class LoaderWatch:
    """Wraps the loaders of a model whose reload has begun."""

    def __init__(self, model: nn.Module, on_call: Callable[[LoaderCall], None]) -> None:
        """Wrap them; `on_call` hears of every call before it is made."""
        from vllm.model_executor.model_loader.weight_utils import default_weight_loader

        self.names: set[str] = set()
        """Published tensors that were written to some parameter."""
        self.parameters: set[int] = set()
        """id() of the parameters that were written to."""
        self.touched: dict[nn.Module, None] = {}
        """Layers that the last `load` wrote to, in order."""
        self._model, self._on_call = model, on_call
        self._owner: dict[int, str] = {}
        self._current = ""
        self._tied: dict[nn.Module, dict[str, str]] = {}
        self._wrapped: dict[int, tuple[Any, object, Callable[..., object] | None]] = {}
        for layer in model.modules():
            for name, parameter in layer._parameters.items():
                if parameter is None or id(parameter) in self._wrapped:
                    continue
                loader = getattr(parameter, "weight_loader", None)
                watched = self._watched(layer, name, loader or default_weight_loader)
                parameter.weight_loader = watched  # type: ignore[attr-defined]
                self._wrapped[id(parameter)] = parameter, watched, loader

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Call the model's `load_weights`.

        Raises:
            WeightSyncError: vLLM cannot load a tensor; the message names it.
        """
        self._owner = {tensor.data_ptr(): name for name, tensor in tensors.items()}
        self.touched = {}
        try:
            with _tied_once(self._tied):
                self._model.load_weights(self._following(tensors))  # type: ignore[operator]
        except KeyError as error:
            raise WeightSyncError(f"the engine's model has no tensor {self._current}") from error
        except Exception as error:
            raise WeightSyncError(f"the engine cannot load {self._current}: {error}") from error

    def end(self) -> None:
        """Put the loaders back, but for those that vLLM has replaced since."""
        for parameter, watched, loader in self._wrapped.values():
            if getattr(parameter, "weight_loader", None) is not watched:
                continue
            if loader is not None:
                parameter.weight_loader = loader
            else:
                del parameter.weight_loader
        self._wrapped = {}

    def _following(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in tensors.items():
            self._current = name
            yield name, tensor

    def _watched(
        self, layer: nn.Module, parameter_name: str, loader: Callable[..., object]
    ) -> Callable[..., object]:
        # `wraps` keeps the name, by which the reload recognises its loaders, and __wrapped__, which it follows.
        @wraps(loader)
        def note(parameter: Tensor, weight: Tensor, *args: object, **kwargs: object) -> object:
            name = self._owner.get(weight.data_ptr(), self._current)
            self.names.add(name)
            self.parameters.add(id(parameter))
            self.touched[layer] = None
            self._on_call(LoaderCall(name, weight, layer, parameter_name, parameter, loader, args, kwargs))
            return loader(parameter, weight, *args, **kwargs)

        return note
