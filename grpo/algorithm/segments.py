"""Sums over the tokens of each sample, for functions of whole samples on flat completion tokens; how errors show a
tensor."""

from __future__ import annotations

from torch import Tensor


def sample_sums(values: Tensor, sample_ids: Tensor, samples: int) -> Tensor:
    """(S,) sums of (C,) values over each sample's tokens; 0 for a sample without tokens.

    Args:
        values: (C,) one number per token.
        sample_ids: (C,) int64 in 0 … S-1.
        samples: S.
    """
    return values.new_zeros(samples).index_add(0, sample_ids, values)


def describe(value: object) -> str:
    """ "torch.float32 (3,)" of a tensor, the type's name of anything else."""
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
