"""The address where processes meet stays theirs from the moment it is known."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from rollout.parts import EnginePart, launcher_environment
from rollout.rendezvous import Rendezvous, connect, split_address
from tests.processes import run_in_ranks

SOON = timedelta(seconds=60)


def test_nobody_else_gets_the_port() -> None:
    place = Rendezvous("127.0.0.1")
    host, port = split_address(place.address)
    assert host == "127.0.0.1"
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((host, port))


def test_it_listens_on_its_host_alone() -> None:
    _, port = split_address(Rendezvous("127.0.0.1").address)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_a_host_of_another_machine_is_an_error() -> None:
    with pytest.raises(OSError, match="assign"):
        Rendezvous("192.0.2.1")


def test_addresses() -> None:
    assert split_address("tcp://10.0.0.1:80") == ("10.0.0.1", 80)
    assert split_address("tcp://[fd00::1]:443") == ("fd00::1", 443)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def _join(rank: int, address: str, as_engine: bool) -> None:
    if as_engine:  # what vLLM's external launcher does
        os.environ.update(launcher_environment(EnginePart(rank, 2), address))
        dist.init_process_group("gloo", init_method="env://")
    else:
        dist.init_process_group("gloo", store=connect(address, SOON), rank=rank, world_size=2)
    total = torch.ones(1) * (rank + 1)
    dist.all_reduce(total)
    dist.destroy_process_group()
    assert total.item() == 3


@pytest.mark.parametrize("as_engine", [False, True], ids=["learner", "engine"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_processes_meet(host: str, as_engine: bool) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    place = Rendezvous(host)
    run_in_ranks(_join, place.address, as_engine, ranks=2)
