"""Asks within seconds if a Ray cluster answers at an address; Ray itself tries for 20 to 40 s and prints warnings.

probe("127.0.0.1:6379")      returns, or raises RunError with what is there instead
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from grpo.common.errors import RunError

PROBE_TIMEOUT_S = 5.0
_NO_HOSTS = ("auto", "local")
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How a gRPC client begins: HTTP/2's preface and an empty SETTINGS frame (RFC 9113 §3.4)."""
_SETTINGS = 4
_HINT = "`ray start --head` starts one and prints its address, host:6379 unless --port says otherwise"


def probe_chosen(address: str | None) -> None:
    """Check the cluster that a command will join, before it reads models and data.

    Args:
        address: of the command line; None: RAY_ADDRESS, if it is set.

    Raises:
        RunError: see `probe`.
    """
    probe(chosen(address))


def chosen(address: str | None) -> str:
    """Return the address that a command means: its own, else RAY_ADDRESS, else "local"."""
    return address or os.environ.get("RAY_ADDRESS") or "local"


def probe(address: str) -> None:
    """Check that something at the address speaks gRPC, as Ray's head does.

    Args:
        address: "host:port", "ray://host:port"; "auto" and "local" are Ray's to find.

    Raises:
        RunError: the address has no host and port, nothing listens there, or it is another service.
    """
    if address in _NO_HOSTS:
        return
    host, port = _host_and_port(address)
    try:
        with socket.create_connection((host, port), timeout=PROBE_TIMEOUT_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") in ("", "0"):
                _check_grpc(connection, address)
    except socket.gaierror as error:
        raise RunError(
            f"no Ray cluster at {address!r}: no host is called {host!r} ({error.strerror})"
        ) from error
    except TimeoutError as error:
        raise RunError(
            f"no Ray cluster at {address!r}: no answer within {PROBE_TIMEOUT_S:g} s; is it the right host, and does a "
            "firewall let you through?"
        ) from error
    except OSError as error:
        raise RunError(f"no Ray cluster at {address!r}: {error.strerror or error}; {_HINT}") from error


def _host_and_port(address: str) -> tuple[str, int]:
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if colon and host:
        with suppress(ValueError):
            if 0 < int(port) < 65536:
                return host, int(port)
    raise RunError(f"address {address!r}: expected host:port, `auto` or `local`; {_HINT}")


def _check_grpc(connection: socket.socket, address: str) -> None:
    connection.sendall(_HTTP2)
    answer = b""
    while len(answer) < 9 and (more := connection.recv(9 - len(answer))):
        answer += more
    if len(answer) < 9 or answer[3] != _SETTINGS:
        dashboard = " (the job server of `grpo submit`?)" if answer.startswith(b"HTTP/1") else ""
        raise RunError(f"no Ray cluster at {address!r}: another service listens there{dashboard}; {_HINT}")
