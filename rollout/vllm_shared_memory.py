"""Names for the shared memory by which an engine's processes on one CPU host exchange activations.

vLLM 0.32.0 derives the name from the address of the process group; with the external launcher every engine has the same
address, so a second engine on a host, or one started after a crash, would find the memory taken.
"""

from __future__ import annotations

import os


def name_by_engine() -> None:
    """Let the name hold the port of this engine's processes. Call it before vLLM makes its process groups."""
    from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator, _CPUSHMDistributed

    whole = _CPUSHMDistributed.make_group_name

    def named(communicator: CpuCommunicator) -> str:
        return f"grpo-{os.environ['MASTER_PORT']}-{whole(communicator).replace('/', '')}"

    _CPUSHMDistributed.make_group_name = staticmethod(named)  # type: ignore[method-assign]
