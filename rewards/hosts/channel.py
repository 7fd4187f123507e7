"""Lines to and from a host over two pipes, each with a deadline. Nothing here can block for ever."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections import deque

from policies.json_types import JsonDict

_READ_BYTES = 1 << 18
_MAX_LINE_BYTES = 1 << 22


class HostGone(Exception):
    """The host closed its end: it died or was killed."""


class HostTimeout(Exception):
    """Nothing came, or nothing was taken, before the deadline."""


class HostProtocolError(Exception):
    """A line that is no result: not JSON, a foreign token, or without end."""


class Channel:
    """The parent's ends of a host's pipes."""

    def __init__(self, request_fd: int, result_fd: int) -> None:
        self._request_fd, self._result_fd = request_fd, result_fd
        os.set_blocking(request_fd, False)
        os.set_blocking(result_fd, False)
        self._lines: deque[bytes] = deque()
        self._rest = b""

    def send(self, line: bytes, timeout_s: float) -> None:
        """Write one whole line. Raises HostGone, HostTimeout."""
        deadline = time.monotonic() + timeout_s
        view = memoryview(line)
        while view:
            try:
                view = view[os.write(self._request_fd, view) :]
            except BlockingIOError:
                self._wait(self._request_fd, select.POLLOUT, deadline)
            except OSError as error:
                raise HostGone from error

    def receive(self, token: str, timeout_s: float, gather_s: float = 0.0) -> JsonDict:
        """The next message of the call `token`. Raises HostGone, HostTimeout, HostProtocolError.

        Args:
            token: what every message of the call bears.
            timeout_s: deadline of this message.
            gather_s: if none is here yet, sleep so long before looking, so that several are read at one go.
        """
        deadline = time.monotonic() + timeout_s
        if gather_s and not self._lines:
            time.sleep(gather_s)
        while not self._lines:
            self._wait(self._result_fd, select.POLLIN, deadline)
            try:
                data = os.read(self._result_fd, _READ_BYTES)
            except BlockingIOError:
                continue
            if not data:
                raise HostGone
            *whole, self._rest = (self._rest + data).split(b"\n")
            self._lines.extend(whole)
            if len(self._rest) > _MAX_LINE_BYTES:
                raise HostProtocolError("a line without end on the result channel")
        try:
            message = json.loads(self._lines.popleft())
        except ValueError as error:
            raise HostProtocolError("a line that is no JSON on the result channel") from error
        if not isinstance(message, dict) or message.get("token") != token:
            raise HostProtocolError("a line without this call's token on the result channel")
        return message

    def close(self) -> None:
        """Close both ends; a waiting host reads the end of its requests and leaves."""
        for fd in (self._request_fd, self._result_fd):
            with contextlib.suppress(OSError):
                os.close(fd)

    @staticmethod
    def _wait(fd: int, event: int, deadline: float) -> None:
        left = deadline - time.monotonic()
        poll = select.poll()
        poll.register(fd, event)
        if left <= 0 or not poll.poll(left * 1000):
            raise HostTimeout
