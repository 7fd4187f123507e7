"""The shared memory by which an engine's processes on one host exchange activations and messages: its names.

vLLM 0.32.0 derives the name of the one for activations on a CPU from the address of the process group; with the
external launcher every engine has the same address, so a second engine on a host would find the memory taken. And what
has a name in /dev/shm stays there when its processes are killed: 33 MB for an engine over two processes on a CPU.
"""

from __future__ import annotations

import os
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")


def name_by_engine() -> None:
    """Let the names hold the port of this engine's processes, and end once all of them have joined.

    Call it before vLLM makes its process groups.
    """
    _name_activations()
    _forget_messages()


def _name_activations() -> None:
    from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator, _CPUSHMDistributed

    whole, join = _CPUSHMDistributed.make_group_name, _CPUSHMDistributed._init_cpu_shm

    def named(communicator: CpuCommunicator) -> str:
        return f"grpo-{os.environ['MASTER_PORT']}-{whole(communicator).replace('/', '')}"

    def joined(self: _CPUSHMDistributed) -> int:
        handle = join(self)  # ends with a barrier: all have mapped each other's memory
        (SHARED_MEMORY / f"{self.group_name}_{self.communicator.rank}").unlink(missing_ok=True)
        return handle

    _CPUSHMDistributed.make_group_name = staticmethod(named)  # type: ignore[method-assign]
    _CPUSHMDistributed._init_cpu_shm = joined  # type: ignore[method-assign]


def _forget_messages() -> None:
    """Unlink the buffer of a message queue when its readers have opened it."""
    from vllm.distributed.device_communicators.shm_broadcast import MessageQueue, ShmRingBuffer

    wait = MessageQueue.wait_until_ready

    def ready(self: MessageQueue) -> None:
        wait(self)  # type: ignore[no-untyped-call]
        buffer: ShmRingBuffer | None = getattr(self, "buffer", None)  # readers on another node have none
        if self._is_writer and buffer is not None and buffer.is_creator:
            memory: SharedMemory = buffer.shared_memory
            memory.unlink()
            buffer.is_creator = False  # it would unlink a second time when it goes

    MessageQueue.wait_until_ready = ready  # type: ignore[method-assign]
