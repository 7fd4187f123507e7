import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_recipes.templates import R1_ZERO
from data_recipes.worlds.chain.corpus import documents
from data_recipes.worlds.chain.problems import question
from data_recipes.worlds.chain.tokenizer import TAGS, build_tokenizer, pieces
from policies.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def hf_tokenizer(tmp_path_factory: pytest.TempPathFactory):
    from transformers import AutoTokenizer

    folder: Path = tmp_path_factory.mktemp("hf")
    build_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


TASK_TEXT = st.lists(
    st.sampled_from(
        [
            *(f" {c}" for c in "0123456789+-*=;"),
            *"0123456789+-*=;.,:? \n",
            *TAGS,
            *(f" {t}" for t in TAGS),
            " the",
            " guess",
            " result",
            R1_ZERO.replace("{prompt}", "7 * 4 + 3"),
        ]
    ),
    max_size=30,
).map("".join)


@given(TASK_TEXT)
def test_task_text_survives_encoding_and_decoding(tiny_tokenizer: Tokenizer, text: str) -> None:
    ids = tiny_tokenizer.encode(text, add_special_tokens=True)
    assert ids[0] == tiny_tokenizer.bos_id
    assert tiny_tokenizer.decode(ids, skip_special=True) == text
    assert tiny_tokenizer.token_id("<unk>") not in ids


def test_every_corpus_document_survives(tiny_tokenizer: Tokenizer) -> None:
    unknown = tiny_tokenizer.token_id("<unk>")
    for document in documents(seed=9, batch=0, count=2000):
        ids = tiny_tokenizer.encode(document.text)
        assert unknown not in ids
        assert tiny_tokenizer.decode(ids) == document.text


def test_digits_are_single_tokens(tiny_tokenizer: Tokenizer) -> None:
    assert len(tiny_tokenizer.encode(" 1234")) == 4


def test_tags_are_one_token_each_and_not_special(tiny_tokenizer: Tokenizer, hf_tokenizer) -> None:
    for tag in TAGS:
        for text in (tag, f" {tag}"):
            ids = tiny_tokenizer.encode(text)
            assert len(ids) == 1
            assert ids[0] not in hf_tokenizer.all_special_ids
            assert tiny_tokenizer.decode(ids, skip_special=True) == text


def test_special_tokens_are_left_out_in_decoding(tiny_tokenizer: Tokenizer) -> None:
    ids = [tiny_tokenizer.bos_id, *tiny_tokenizer.encode(" 7"), tiny_tokenizer.eos_id, tiny_tokenizer.pad_id]
    assert tiny_tokenizer.decode(ids, skip_special=True) == " 7"


def test_unknown_text_becomes_the_unknown_token(tiny_tokenizer: Tokenizer) -> None:
    assert tiny_tokenizer.token_id("<unk>") in tiny_tokenizer.encode(" zebra")


def test_auto_tokenizer_agrees(tiny_tokenizer: Tokenizer, hf_tokenizer) -> None:
    for document in documents(seed=3, batch=1, count=50):
        ids = tiny_tokenizer.encode(document.text, add_special_tokens=True)
        assert hf_tokenizer(document.text)["input_ids"] == ids
        assert hf_tokenizer.decode(ids, skip_special_tokens=True) == document.text
    assert hf_tokenizer.eos_token_id == tiny_tokenizer.eos_id
    assert hf_tokenizer.pad_token_id == tiny_tokenizer.pad_id
    assert hf_tokenizer.bos_token_id == tiny_tokenizer.bos_id


def test_vocabulary_is_small_and_has_no_double() -> None:
    assert 64 <= len(pieces()) <= 100
    assert len(set(pieces())) == len(pieces())


def test_a_prompt_is_short(tiny_tokenizer: Tokenizer) -> None:
    problem = next(d.problem for d in documents(1, 0, 500) if d.kind == "steps")
    assert problem is not None
    text = R1_ZERO.replace("{prompt}", question(problem))
    assert len(tiny_tokenizer.encode(text, add_special_tokens=True)) <= 26
    assert len(re.findall(r"<think>|<answer>", text)) == 4
