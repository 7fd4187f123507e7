"""Memory that an idle engine returns."""

from __future__ import annotations

from typing import Any

from rollout.memory import release


class IdleMemory:
    """Mixed into vLLM's worker class (`worker_extension_cls`); `model_runner` is the worker's."""

    model_runner: Any
    """vLLM's, which has no types."""

    def release_memory(self) -> None:
        """Let go of keys and values, which no later chunk reads, and of the allocator's free pages (on a CPU).

        vLLM fills the whole cache when it starts: kv_cache_gib would be resident from then on, used or not, while the
        learner needs memory for its update.
        """
        release(self.model_runner.device, unused=self.model_runner.kv_caches)
