"""The shares of a packed row's tokens: together they are the row, and each meets the keys that the row's tokens meet.

What ranks compute with them is compared with one rank's in tests/grpo/training/test_sharding.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import layout as layout_module
from policies.context import own_targets, share_of
from policies.layout import build_layout
from policies.packing import PackedSequences, pack, pack_documents
from policies.token_share import ContextGroup
from tests.oracles.policies_oracle import Groups, dense_mask
from tests.policies.tiny import group_shapes, visible

NO_GROUP: Any = None


def shares(packed: PackedSequences, size: int) -> list[PackedSequences]:
    """The row as each rank has it."""
    segments, tokens = packed.layout.segments, packed.layout.token_count
    made = [share_of(tokens, ContextGroup(NO_GROUP, rank, size)) for rank in range(size)]
    return [
        PackedSequences(**{**vars(packed), "layout": build_layout(segments, share)})  # type: ignore[arg-type]
        for share in made
    ]


@settings(deadline=None, max_examples=60)
@given(groups=group_shapes(), size=st.integers(2, 7), pad_tokens=st.sampled_from([0, 3, 256]))
def test_each_rank_meets_the_keys_of_its_tokens(groups: Groups, size: int, pad_tokens: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout_module, "PAD_TOKENS", pad_tokens)
        expected = dense_mask(groups).long()
        for packed in shares(pack(groups), size):
            assert packed.layout.share is not None
            assert torch.equal(visible(packed), expected[packed.layout.share.token_index])


@settings(deadline=None, max_examples=60)
@given(groups=group_shapes(), size=st.integers(2, 9))
def test_every_token_and_every_target_counts_on_one_rank(groups: Groups, size: int) -> None:
    whole = pack(groups)
    ranks = shares(whole, size)
    counts = [packed.layout.share.own_index >= 0 for packed in ranks if packed.layout.share is not None]
    assert torch.equal(torch.stack(counts).sum(0), torch.ones_like(whole.token_ids))
    found = [own_targets(packed, packed.predict_index) for packed in ranks]
    chosen = [own.chosen for own in found if own.chosen is not None]
    assert sorted(torch.cat(chosen).tolist()) == list(range(len(whole.target_ids)))
    # Laid end to end, the ranks' tokens are the row again.
    share = ranks[0].layout.share
    assert share is not None
    rows = torch.full((size * share.longest,), -1)
    for rank, packed in enumerate(ranks):
        own = packed.layout.share
        assert own is not None
        if not own.is_spare:
            rows[rank * share.longest :][: len(own.token_index)] = whole.token_ids[own.token_index]
    assert torch.equal(rows[share.gathered_index], whole.token_ids)
    for packed, own in zip(ranks, found, strict=True):
        assert packed.layout.share is not None
        assert torch.equal(packed.layout.share.token_index[own.rows], whole.predict_index[own.chosen])


@pytest.mark.parametrize("size", [2, 4, 8])
def test_the_ranks_of_a_long_completion_meet_equally_many_keys(size: int) -> None:
    ranks = shares(pack_documents([[1] * 512]), size)
    counts = [int(visible(packed).sum()) for packed in ranks]
    assert max(counts) == min(counts)
