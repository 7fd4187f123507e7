"""Futures that follow from other futures, without a thread that waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar  # Any: results are not read here

T = TypeVar("T")


def joined(futures: Sequence[Future[Any]], make: Callable[[], T]) -> Future[T]:
    """Call `make` once all `futures` are done; the returned future holds its value.

    `make` runs in the thread that finishes last (in the caller's if all are done already), so it must be short. If one
    of the futures failed, `make` is not called and the returned future fails with the first error in their order.
    """
    result: Future[T] = Future()
    lock, left = threading.Lock(), len(futures)

    def settle() -> None:
        try:
            for future in futures:
                future.result()
            result.set_result(make())
        except BaseException as error:
            result.set_exception(error)

    def one_done(_: Future[object]) -> None:
        nonlocal left
        with lock:
            left -= 1
            is_last = left == 0
        if is_last:
            settle()

    if not futures:
        settle()
    for future in futures:
        future.add_done_callback(one_done)
    return result
