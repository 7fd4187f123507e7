"""Where the processes of an engine, or the ranks of a learner, meet: a store that the first of them keeps listening.

A port that is looked up and let go can be taken before it is used, and an engine takes a minute to get there. So rank 0
listens from the moment that it gives its address, and all processes, rank 0 too, join as clients, as under torchrun.
"""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import TCPStore


class Rendezvous:
    """A store that listens on one address of this machine until the object is gone."""

    def __init__(self, host: str) -> None:
        """Listen on a free port of `host`, and on no other address.

        Raises:
            OSError: the machine has no such address, or no free port.
        """
        from torch.distributed import TCPStore

        is_ipv6 = ":" in host
        family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
        listening = socket.create_server((host, 0), family=family, backlog=1024)
        port = int(listening.getsockname()[1])
        self._store = TCPStore(
            host, port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach()
        )
        self.address = f"tcp://[{host}]:{port}" if is_ipv6 else f"tcp://{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of an address of `Rendezvous`."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def connect(address: str, timeout: timedelta) -> TCPStore:
    """Return the store that listens there, for `torch.distributed.init_process_group`.

    Raises:
        torch.distributed.DistError: nothing answers within `timeout`.
    """
    from torch.distributed import TCPStore

    host, port = split_address(address)
    return TCPStore(host, port, is_master=False, timeout=timeout)
