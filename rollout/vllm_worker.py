"""The class that vLLM mixes into its worker (`worker_extension_cls`)."""

import os

import rollout.vllm_router  # noqa: F401  # registers float32 routers before vLLM builds the model
from rollout.vllm_memory import IdleMemory
from rollout.vllm_routing import RoutingRecorder
from rollout.vllm_sampling import QuickSampling
from rollout.vllm_shared_memory import name_by_engine
from rollout.vllm_weights import WeightReceiver

if "MASTER_PORT" in os.environ:  # an engine of several processes; vLLM imports this before they meet
    name_by_engine()


class WorkerExtension(WeightReceiver, QuickSampling, IdleMemory, RoutingRecorder):
    """Adds weight updates, faster CPU sampling, the release of memory between chunks, and a record of experts."""
