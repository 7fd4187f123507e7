"""A process that handles signals as the command does, for tests that send one to themselves."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from grpo.common import stopping


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the handlers with a state of their own; the runner's come back at the end."""
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    for number in stopping.SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    monkeypatch.setattr(stopping, "_state", stopping._State())
    stopping.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
