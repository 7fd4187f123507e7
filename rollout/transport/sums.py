"""A digest of a tensor that is the sum over its shards: whoever holds a part adds up the part, and nobody gathers.

    digest_sum(whole, 0) == digest_sum(shard_0, …) + digest_sum(shard_1, …)        modulo 2⁶⁴

Each element contributes mix(bits + key(position)), with the position in the whole tensor, so that a changed, missing,
repeated or moved element changes the sum. A shard's sum, taken before shards are gathered, proves the gathered tensor.
The mix is SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014), the key Weyl's sequence with its increment.
"""

from __future__ import annotations

import torch
from torch import Tensor

_INCREMENT = -7046029254386353131
"""0x9E3779B97F4A7C15 as a signed number: 2⁶⁴ over the golden ratio."""
_FACTORS = (-4658895280553007687, -7723592293110705685)
"""0xBF58476D1CE4E5B9 and 0x94D049BB133111EB as signed numbers."""
_SHIFTS = (30, 27, 31)
_AT_A_TIME = 2**20
"""Elements whose positions are in memory at once."""
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def digest_sum(part: Tensor, positions: Tensor) -> int:
    """Return the sum of a part of a tensor, modulo 2⁶⁴, as a signed number.

    Args:
        part: any shape and dtype, on any device.
        positions: (as part) int64, each element's index in the whole tensor, laid flat.

    Raises:
        ValueError: the shapes differ.
    """
    if part.shape != positions.shape:
        raise ValueError(f"{list(part.shape)} elements, {list(positions.shape)} positions")
    bits = part.detach().contiguous().view(_INTEGERS[part.element_size()]).reshape(-1)
    places = positions.reshape(-1)
    total = torch.zeros((), dtype=torch.int64, device=part.device)
    for start in range(0, len(bits), _AT_A_TIME):
        end = start + _AT_A_TIME
        total += _mix(bits[start:end].to(torch.int64) + (places[start:end] + 1) * _INCREMENT).sum()
    return int(total)


def positions_of(shape: tuple[int, ...], dim: int, start: int, length: int) -> Tensor:
    """Return the flat positions of the slice start … start + length - 1 along one dimension of a tensor."""
    numbers = torch.arange(torch.Size(shape).numel(), dtype=torch.int64).reshape(shape)
    return numbers.narrow(dim, start, length)


def wrapped(total: int) -> int:
    """Return a sum of sums modulo 2⁶⁴, as a signed number."""
    return (total + 2**63) % 2**64 - 2**63


def _mix(words: Tensor) -> Tensor:
    for shift, factor in zip(_SHIFTS, (*_FACTORS, 1), strict=True):
        words = (words ^ _shifted(words, shift)) * factor
    return words


def _shifted(words: Tensor, by: int) -> Tensor:
    """Shift right as if the numbers had no sign: torch's own shift copies the sign."""
    shifted: Tensor = (words >> by) & (2 ** (64 - by) - 1)
    return shifted
