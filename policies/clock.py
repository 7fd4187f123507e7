"""The moment that chat templates see as now: the start of the run, so that a run resumed tomorrow has today's prompts.

with clock.fixed(begun):
    tokenizer.apply_chat_template(…)      # strftime_now() gives the date of `begun`
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

_fixed: ContextVar[datetime | None] = ContextVar("fixed", default=None)


def now() -> datetime:
    """Return the moment that `fixed` holds, else the present one; with its offset from UTC."""
    return _fixed.get() or datetime.now().astimezone()


@contextmanager
def fixed(moment: datetime) -> Iterator[None]:
    """Let `now` return this moment inside the block."""
    token = _fixed.set(moment)
    try:
        yield
    finally:
        _fixed.reset(token)
