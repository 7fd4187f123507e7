from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import layout as layout_module
from policies.packing import pack, pack_documents
from tests.oracles.policies_oracle import Groups, dense_mask
from tests.policies.tiny import group_shapes, visible


def test_documented_example():
    packed = pack([([5, 6], [[7, 8], [9]])])
    assert packed.token_ids.tolist() == [5, 6, 7, 8, 9]
    assert packed.position_ids.tolist() == [0, 1, 2, 3, 2]
    assert packed.target_ids.tolist() == [7, 8, 9]
    assert packed.predict_index.tolist() == [1, 2, 1]
    assert packed.sample_ids.tolist() == [0, 0, 1]
    assert packed.sample_count == 2
    assert packed.layout.max_length == 4


@settings(deadline=None, max_examples=60)
@given(group_shapes())
def test_a_token_meets_exactly_its_prompt_and_its_own_past(groups: Groups):
    assert torch.equal(visible(pack(groups)), dense_mask(groups).long())


@settings(deadline=None, max_examples=30)
@given(groups=group_shapes(max_groups=6), pad_tokens=st.integers(0, 6))
def test_any_batching_of_rows_shows_the_same_tokens(groups: Groups, pad_tokens: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout_module, "PAD_TOKENS", pad_tokens)
        patch.setattr(layout_module, "PAD_SHARE", 0.1)
        assert torch.equal(visible(pack(groups)), dense_mask(groups).long())


@settings(deadline=None, max_examples=60)
@given(group_shapes())
def test_each_target_is_predicted_by_the_token_before_it(groups: Groups):
    packed = pack(groups)
    samples = [(prompt, completion) for prompt, completions in groups for completion in completions]
    assert packed.sample_count == len(samples)
    flat = [(s, prompt, c, i) for s, (prompt, c) in enumerate(samples) for i in range(len(c))]
    assert packed.target_ids.tolist() == [c[i] for _, _, c, i in flat]
    assert packed.sample_ids.tolist() == [s for s, _, _, _ in flat]
    before = packed.token_ids[packed.predict_index].tolist()
    assert before == [c[i - 1] if i else prompt[-1] for _, prompt, c, i in flat]
    places = packed.position_ids[packed.predict_index].tolist()
    assert places == [len(prompt) + i - 1 for _, prompt, _, i in flat]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.integers(0, 63), min_size=1, max_size=9), min_size=1, max_size=6))
def test_documents_are_isolated_and_train_on_all_but_the_first_token(documents: list[list[int]]):
    packed = pack_documents(documents)
    assert torch.equal(visible(packed), dense_mask([(d, []) for d in documents]).long())
    assert packed.target_ids.tolist() == [t for d in documents for t in d[1:]]
    assert packed.token_ids[packed.predict_index].tolist() == [t for d in documents for t in d[:-1]]
    assert packed.sample_ids.tolist() == [i for i, d in enumerate(documents) for _ in d[1:]]


def test_rows_of_like_length_share_a_batch_and_unlike_ones_do_not():
    packed = pack_documents([[1] * 1000, [2] * 990, [3] * 10, [4] * 11])
    assert sorted(tuple(b.queries.shape) for b in packed.layout.parts[0].batches) == [(2, 11), (2, 1000)]


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="group 1 has an empty prompt"):
        pack([([1], [[2]]), ([], [[2]])])


def test_an_empty_document_is_refused():
    with pytest.raises(ValueError, match="document 1 is empty"):
        pack_documents([[1], []])


def test_nothing_to_pack_is_refused():
    with pytest.raises(ValueError, match="nothing to pack"):
        pack([])
