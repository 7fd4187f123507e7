"""What we add to vLLM's worker class, by vLLM's own hook for it (`worker_extension_cls`)."""

import rollout.vllm_router  # noqa: F401  # registers float32 routers before vLLM builds the model
from rollout.vllm_memory import IdleMemory
from rollout.vllm_sampling import QuickSampling
from rollout.vllm_weights import WeightReceiver


class WorkerExtension(WeightReceiver, QuickSampling, IdleMemory):
    """Weight sync, sampling, and memory between chunks."""
