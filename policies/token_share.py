"""The tokens of a packed row that one rank of a context group computes; plain data, made by policies/context.py."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class ContextGroup:
    """Ranks that divide the tokens of every packed row among them."""

    group: dist.ProcessGroup
    rank: int
    """Of this process in the group."""
    size: int


@dataclass(frozen=True)
class TokenShare:
    """One rank's tokens of a row of T, and how those of all ranks are put in order."""

    context: ContextGroup
    ranges: tuple[tuple[int, int], ...]
    """The rank's tokens, as ascending ranges (first, stop) of indices into T."""
    is_spare: bool
    """True: there are fewer tokens than ranks, and this one computes a token that counts at another."""
    token_index: Tensor
    """(Q,) index into T of each of the rank's tokens."""
    own_index: Tensor
    """(T,) index of each token among the rank's; -1 for one that counts at another rank."""
    gathered_index: Tensor
    """(T,) row of each token when all ranks' tokens are laid end to end, each padded to `longest`."""
    longest: int
    """Most tokens of a rank."""

    def to(self, device: torch.device | str) -> TokenShare:
        """Return a copy on another device."""
        return replace(
            self,
            token_index=self.token_index.to(device),
            own_index=self.own_index.to(device),
            gathered_index=self.gathered_index.to(device),
        )
