"""What an idle engine need not hold."""

from __future__ import annotations

from typing import Any

from rollout import memory


class IdleMemory:
    """Mixed into vLLM's worker class (`worker_extension_cls`); `model_runner` is the worker's."""

    model_runner: Any

    def release_memory(self) -> None:
        """On a CPU, let go of keys and values, which no later chunk reads, and of the allocator's free pages.

        vLLM fills the whole cache when it starts: kv_cache_gib would be resident from then on, used or not, while the
        learner needs memory for its update.
        """
        if self.model_runner.device.type == "cpu":
            memory.forget(self.model_runner.kv_caches)
            memory.trim()
