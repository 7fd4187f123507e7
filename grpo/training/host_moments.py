"""AdamW's moments in the host's memory: they pass over the device piece by piece, at learner.offload_optimizer.

    host = HostMoments(device)
    host.visit(pieces, update)      update(i, first, second) sees piece i on the device and changes it there

Device and arithmetic of an update are what they are without it, so its bits are too. On a GPU the next piece arrives
while one is computed and the one before leaves (pinned memory, a stream each way). This has never run on hardware; on a
CPU the same steps copy each piece and back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
"""First and second moments of one piece, 1-d."""


class HostMoments:
    """Makes moments on the host and shows them to the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._is_cuda = device.type == "cuda"
        self._up = torch.cuda.Stream(device) if self._is_cuda else None
        self._down = torch.cuda.Stream(device) if self._is_cuda else None

    def zeros_like(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """Return zeros on the host, of the tensor's shape."""
        return torch.zeros(tensor.shape, dtype=dtype, pin_memory=self._is_cuda)

    def visit(self, pieces: Sequence[Pair], update: Callable[[int, Tensor, Tensor], None]) -> None:
        """Show every piece to `update` on the device, in order, and take back what it made of them."""
        if self._up is not None:
            self._up.wait_stream(torch.cuda.current_stream(self._device))
        ahead = self._fetch(pieces[0]) if pieces else None
        for i, piece in enumerate(pieces):
            assert ahead is not None
            current, ahead = ahead, self._fetch(pieces[i + 1]) if i + 1 < len(pieces) else None
            (first, second), arrived = current
            if arrived is not None:
                torch.cuda.current_stream(self._device).wait_event(arrived)
            update(i, first, second)
            self._send_back((first, second), piece)
        if self._down is not None:
            self._down.synchronize()

    def _fetch(self, piece: Pair) -> tuple[Pair, torch.cuda.Event | None]:
        with self._on(self._up):
            first, second = (moment.to(self._device, non_blocking=True, copy=True) for moment in piece)
            return (first, second), None if self._up is None else self._up.record_event()

    def _send_back(self, changed: Pair, piece: Pair) -> None:
        if self._down is not None:
            self._down.wait_stream(torch.cuda.current_stream(self._device))
        with self._on(self._down):
            for moment, home in zip(changed, piece, strict=True):
                home.copy_(moment, non_blocking=True)
                if self._up is not None and self._down is not None:
                    # Made on one stream and used on two more: its memory is free when all are through.
                    moment.record_stream(torch.cuda.current_stream(self._device))
                    moment.record_stream(self._down)

    def _on(self, stream: torch.cuda.Stream | None) -> AbstractContextManager[object]:
        return nullcontext() if stream is None else torch.cuda.stream(stream)
