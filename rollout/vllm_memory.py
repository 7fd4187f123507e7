"""Memory that an idle engine gives back."""

from __future__ import annotations

from rollout.memory import release
from rollout.vllm_types import ModelRunner


class IdleMemory:
    """Mixed into vLLM's worker class (`worker_extension_cls`); `model_runner` is the worker's."""

    model_runner: ModelRunner

    def release_memory(self) -> None:
        """Free, on a CPU, keys and values, which no later chunk reads, and the allocator's free pages.

        vLLM writes to the whole cache when it starts: all of kv_cache_gib would stay resident, used or not, while the
        learner needs the memory for its update.
        """
        release(self.model_runner.device, unused=self.model_runner.kv_caches)
