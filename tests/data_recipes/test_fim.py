"""Fill in the middle: the layout, the share, where documents are cut, and every family's own tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_recipes.errors import DataError
from data_recipes.fim import DEEPSEEK, SPELLINGS, Cut, FimConfig, add_tokens, draw_cut, fim_tokens, psm
from data_recipes.sft.config import SftSource
from data_recipes.sft.examples import read_examples
from data_recipes.worlds.code_tiny.problems import STEPS
from data_recipes.worlds.code_tiny.tokenizer import build_tokenizer
from policies.tokenizer import Tokenizer, load_tokenizer
from tests.policies.tiny import write_tokenizer

LINES = [f"    xs = {step.code}\n" for step in STEPS.values()]
TEXT = "def f(xs):\n" + "".join(LINES[:4])


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The tokenizer of code-tiny, which knows whole pieces alone."""
    folder = tmp_path_factory.mktemp("words")
    build_tokenizer(folder)
    add_tokens(folder, DEEPSEEK)
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A byte-level tokenizer, which knows every text."""
    folder = write_tokenizer(tmp_path_factory.mktemp("letters") / "t")
    add_tokens(folder, DEEPSEEK)
    return load_tokenizer(folder)


@given(st.text(max_size=40), st.integers(0, 10**6))
def test_a_cut_document_is_the_document(document: str, key: int) -> None:
    cut = draw_cut(FimConfig(rate=1.0), document, str(key), None)  # type: ignore[arg-type]  # reads no tokens
    assert cut is not None
    assert cut.prefix + cut.middle + cut.suffix == document


@given(st.lists(st.sampled_from(LINES), max_size=4), st.integers(0, 10**6))
def test_a_cut_between_tokens_leaves_the_tokens_of_the_document(
    words: Tokenizer, lines: list[str], key: int
) -> None:
    document = "".join(lines)
    cut = draw_cut(FimConfig(rate=1.0, unit="token"), document, str(key), words)
    assert cut is not None
    parts = [words.encode(part) for part in (cut.prefix, cut.middle, cut.suffix)]
    assert [token for part in parts for token in part] == words.encode(document)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_the_share_is_the_rate_and_the_same_key_is_cut_alike(rate: float) -> None:
    fim = FimConfig(rate=rate)
    cuts = [draw_cut(fim, TEXT, f"{n}", None) for n in range(3000)]  # type: ignore[arg-type]
    assert sum(c is not None for c in cuts) / len(cuts) == pytest.approx(rate, abs=0.03)
    assert cuts == [draw_cut(fim, TEXT, f"{n}", None) for n in range(3000)]  # type: ignore[arg-type]
    places = {len(c.prefix) for c in cuts if c is not None}
    assert not rate or len(places) > len(TEXT) / 2


def test_psm_puts_the_suffix_before_the_middle(letters: Tokenizer) -> None:
    given, middle = psm(fim_tokens(letters), letters, Cut("ab", "cd", "ef"))
    begin, hole, end = (letters.token_id(t) for t in DEEPSEEK)
    assert given == [begin, *letters.encode("ab"), hole, *letters.encode("ef"), end]
    assert middle == letters.encode("cd")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_each_tokenizer_s_own_tokens_are_found(tmp_path: Path, spelling: tuple[str, str, str]) -> None:
    folder = write_tokenizer(tmp_path / "t")
    with pytest.raises(DataError, match="no tokens for fill in the middle"):
        fim_tokens(load_tokenizer(folder))
    add_tokens(folder, spelling)
    tokenizer = load_tokenizer(folder)
    found = fim_tokens(tokenizer)
    assert [found.begin, found.hole, found.end] == [tokenizer.token_id(t) for t in spelling]


def test_a_document_with_such_a_token_is_refused(letters: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"contains '<｜fim▁hole｜>'"):
        psm(fim_tokens(letters), letters, Cut("a", f"b{DEEPSEEK[1]}", "c"))


def examples_of(tmp_path: Path, tokenizer: Tokenizer, rows: list[dict[str, str]], **keys: object) -> list:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = SftSource.model_validate({"source": str(file), "prompt_field": "prompt", **keys})
    return read_examples(source, tokenizer, 4096)[0]


def test_sft_learns_the_middle_and_its_end_of_a_share_of_the_rows(tmp_path: Path, letters: Tokenizer) -> None:
    rows = [{"prompt": f"question {n}\n", "completion": f"answer {n} is {n * n}"} for n in range(200)]
    plain = examples_of(tmp_path, letters, rows)
    mixed = examples_of(tmp_path, letters, rows, fim={"rate": 0.5})
    begin, hole, end = (letters.token_id(t) for t in DEEPSEEK)
    infilled = [e for e in mixed if begin in e.token_ids]
    assert 70 < len(infilled) < 130
    for example, before in zip(mixed, plain, strict=True):
        ids = example.token_ids.tolist()
        if begin not in ids:
            assert ids == before.token_ids.tolist()
            assert (example.is_target == before.is_target).all()
            continue
        at = ids.index(end)
        assert not example.is_target[: at + 1].any()
        assert example.is_target[at + 1 :].all()
        assert ids[-1] == letters.eos_id
        prefix, suffix, middle = ids[1 : ids.index(hole)], ids[ids.index(hole) + 1 : at], ids[at + 1 : -1]
        document = letters.decode(before.token_ids.tolist())
        assert "".join(letters.decode(part) for part in (prefix, middle, suffix)) == document


def test_a_conversation_is_not_cut(tmp_path: Path, letters: Tokenizer) -> None:
    with pytest.raises(ValidationError, match="a conversation is none"):
        SftSource(source="a.jsonl", format="chat", fim=FimConfig())
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
    file = tmp_path / "chat.jsonl"
    file.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(DataError, match="fim cuts documents"):
        read_examples(SftSource(source=str(file), fim=FimConfig()), letters, 100)
