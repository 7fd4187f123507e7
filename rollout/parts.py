"""What the process of one GPU of an engine knows beside the recipe. No vLLM and no torch is imported.

An engine over several GPUs is one process per GPU (vLLM's external launcher): every process makes the same calls and
runs the same scheduler, so it steps as an engine on one GPU does, and its errors are raised where they happen.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.json_types import JsonDict
from rollout.rendezvous import split_address


@dataclass(frozen=True)
class EnginePart:
    """One process of an engine."""

    rank: int = 0
    world_size: int = 1
    """Processes of the engine: its tensor_parallel."""
    takes_turns: bool = False
    """The engine frees its memory between phases, for a learner on the same device."""


ALONE = EnginePart()
"""The process of an engine on one device."""


def launcher_environment(part: EnginePart, rendezvous: str | None) -> dict[str, str]:
    """Return the environment variables by which vLLM's external launcher finds the other processes of the engine.

    Args:
        part: this process.
        rendezvous: rank 0's `rendezvous_address`; None for an engine of one process, which needs no variables.
    """
    if rendezvous is None:
        return {}
    host, port = split_address(rendezvous)
    return {
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
        # Rank 0's actor listens there already, so torch must not.
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "RANK": str(part.rank),
        "WORLD_SIZE": str(part.world_size),
        # Ray shows each actor one GPU, so every process computes on device 0.
        "LOCAL_RANK": "0",
    }


def parallel_args(tensor_parallel: int, expert_parallel: bool) -> JsonDict:
    """Return the arguments of `vllm.EngineArgs` that divide an engine over processes."""
    if tensor_parallel == 1:
        return {"tensor_parallel_size": 1}
    return {
        "tensor_parallel_size": tensor_parallel,
        "enable_expert_parallel": expert_parallel,
        "distributed_executor_backend": "external_launcher",
        # It needs to see its neighbours' devices, and Ray shows each actor its own alone; NCCL reduces instead.
        "disable_custom_all_reduce": True,
    }
