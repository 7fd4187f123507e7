"""`grpo view`: the server on 127.0.0.1, until Ctrl-C."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import uvicorn
from rich.markup import escape

from grpo.common.console import say
from grpo.common.errors import ConfigError
from grpo.view.app import make_app
from grpo.view.folders import check_roots
from grpo.view.watch import Watch

PORT = 7420
HOST = "127.0.0.1"
CLOSE_AFTER_S = 3
"""Open streams end this long after Ctrl-C."""


def serve(roots: Sequence[Path], port: int | None) -> None:
    """Serve the page about the runs in and below `roots`; returns after Ctrl-C.

    Args:
        roots: folders of runs, graphs, or of both at any depth.
        port: to listen on; None takes `PORT`, or a free one if that is taken.

    Raises:
        ConfigError: a folder is missing, or the port is taken.
    """
    check_roots(roots)
    listening = listen(port)
    watch = Watch(roots)
    number = listening.getsockname()[1]
    found = watch.folders()
    say(
        f"{len(found)} run{'s' if len(found) != 1 else ''} in {escape(', '.join(map(str, roots)))}   "
        f"[bold]http://localhost:{number}/[/]   Ctrl-C ends"
    )
    say(f"[dim]from another machine: ssh -L {number}:localhost:{number} {escape(socket.gethostname())}[/]")
    settings = uvicorn.Config(
        make_app(watch),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=CLOSE_AFTER_S,
        server_header=False,
    )
    # uvicorn raises the Ctrl-C that ended it once more; here it is the way to end, not an interruption.
    with listening, suppress(KeyboardInterrupt):
        uvicorn.Server(settings).run(sockets=[listening])


def listen(port: int | None) -> socket.socket:
    """Return a listening socket on this machine's loopback.

    Raises:
        ConfigError: the port that was asked for is taken.
    """
    for number in (port,) if port is not None else (PORT, 0):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, number or 0))
            listening.listen(128)
            return listening
        except OSError as error:
            listening.close()
            failed = error
    raise ConfigError(f"--port {port} is not to be had ({failed.strerror}); leave it out to take a free one")
