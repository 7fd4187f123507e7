"""Which experts vLLM's routers choose, recorded by the hook that its routers call.

vLLM's own return of routed experts needs a model runner that a CPU does not have (`AuxOutput Connector requires Model
Runner V2`), and prefix caching. This records every token that a forward computes, so it is for prompts that are
computed one at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any  # of vLLM's routers

import torch
from torch import Tensor

from rollout.errors import RolloutError
from rollout.vllm_types import ModelRunner


class RoutingRecorder:
    """Mixed into vLLM's worker class."""

    model_runner: ModelRunner
    _routing: dict[int, list[Tensor]] | None = None

    def record_routing(self) -> None:
        """Record from now on.

        Raises:
            RolloutError: an expert kernel of this device chooses experts itself and has no hook.
        """
        from vllm.model_executor.layers.fused_moe.layer import MoERunner
        from vllm.model_executor.layers.fused_moe.router.base_router import BaseRouter

        self._routing = {}
        for module in self.model_runner.get_model().modules():
            if not isinstance(module, MoERunner):
                continue
            router: Any = module.router
            if not isinstance(router, BaseRouter):
                raise RolloutError(f"the routers of this device ({type(router).__name__}) cannot be recorded")
            router.set_capture_fn(_recorder(self._routing.setdefault(module.layer_id, [])))

    def take_routing(self) -> dict[int, Tensor]:
        """Return (T, K) int32 experts of the tokens since `record_routing`, by layer, and stop to record."""
        from vllm.model_executor.layers.fused_moe.layer import MoERunner

        for module in self.model_runner.get_model().modules():
            if isinstance(module, MoERunner):
                module.router.set_capture_fn(None)
        found, self._routing = self._routing or {}, None
        return {layer: torch.cat(parts).cpu() for layer, parts in found.items() if parts}


def _recorder(parts: list[Tensor]) -> Callable[[Tensor], None]:
    return lambda experts: parts.append(experts.to(torch.int32).clone())
