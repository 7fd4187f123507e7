from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import BrokenCheckpoint, MissingTokenizer, PolicyError
from policies.tokenizer import Tokenizer, load_tokenizer
from tests.policies.tiny import write_tokenizer

MESSAGES = [
    {"role": "system", "content": "Be <b>brief</b> & 'true'."},
    {"role": "user", "content": "12 + 34 = ?  \n naïve 数学"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def ours(folder: Path) -> Tokenizer:
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@given(text=st.text(max_size=40))
def test_text_survives_and_ids_equal_transformers(ours: Tokenizer, theirs: Any, text: str):
    ids = ours.encode(text)
    assert ids == theirs.encode(text, add_special_tokens=False)
    assert ours.decode(ids) == text


@pytest.mark.parametrize("skip", [True, False])
def test_special_tokens_in_text(ours: Tokenizer, theirs: Any, skip: bool):
    text = "<|im_start|>user\nhi<|im_end|>\n"
    ids = ours.encode(text)
    assert ids == theirs.encode(text, add_special_tokens=False)
    assert ours.decode(ids, skip_special=skip) == theirs.decode(ids, skip_special_tokens=skip)
    assert ours.decode(ids, skip_special=skip) == ("user\nhi\n" if skip else text)


@pytest.mark.parametrize("prompt", [True, False])
def test_chat_template_equals_transformers(ours: Tokenizer, theirs: Any, prompt: bool):
    expected = theirs.apply_chat_template(MESSAGES, add_generation_prompt=prompt, tokenize=False)
    assert ours.apply_chat_template(MESSAGES, add_generation_prompt=prompt) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{% if tools is not none %}tools{% endif %}{% for m in messages %}{% if loop.index > 1 %}{% break %}"
        "{% endif %}{{ m | tojson }}{% endfor %}",
        "{% for m in messages %}\n    {% if m.role == 'user' %}\n{{ eos_token }}{{ m.content | trim }}\n"
        "    {% endif %}\n{% endfor %}",
        "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{% endfor %}{{ extra }}",
    ],
)
def test_templates_use_the_environment_they_are_written_for(tmp_path: Path, template: str):
    from transformers import AutoTokenizer

    write_tokenizer(tmp_path, chat_template=template)
    expected = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
        MESSAGES, add_generation_prompt=True, tokenize=False, extra="x"
    )
    assert load_tokenizer(tmp_path).apply_chat_template(MESSAGES, extra="x") == expected


def test_a_template_cannot_reach_the_host(tmp_path: Path):
    write_tokenizer(tmp_path, chat_template="{{ messages.__class__.__mro__ }}")
    with pytest.raises(PolicyError, match="rejects these messages"):
        load_tokenizer(tmp_path).apply_chat_template(MESSAGES)


def test_a_template_may_refuse(tmp_path: Path):
    write_tokenizer(tmp_path, chat_template="{{ raise_exception('no system role') }}")
    with pytest.raises(PolicyError, match="no system role"):
        load_tokenizer(tmp_path).apply_chat_template(MESSAGES)


def test_no_template_is_said_so(tmp_path: Path):
    write_tokenizer(tmp_path, chat_template=None)
    tokenizer = load_tokenizer(tmp_path)
    assert not tokenizer.has_chat_template
    with pytest.raises(PolicyError, match="no chat template"):
        tokenizer.apply_chat_template(MESSAGES)


def test_template_inside_the_config_file_is_found(tmp_path: Path):
    write_tokenizer(tmp_path, chat_template=None)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["chat_template"] = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert load_tokenizer(tmp_path).apply_chat_template(MESSAGES) == "d"


def test_special_ids(ours: Tokenizer, theirs: Any):
    assert (ours.bos_id, ours.eos_id, ours.pad_id) == (
        theirs.bos_token_id,
        theirs.eos_token_id,
        theirs.pad_token_id,
    )
    assert ours.stop_token_ids == (theirs.eos_token_id,)
    assert len(ours) == len(theirs)
    assert ours.token_id("<|im_start|>") == 1
    assert ours.token_id("no such token") is None


@pytest.mark.parametrize(("eos", "expected"), [(0, (0, 2)), ([0, 1], (0, 1, 2)), (None, (2,))])
def test_generation_config_adds_stop_tokens(tmp_path: Path, eos: Any, expected: tuple[int, ...]):
    write_tokenizer(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": eos}))
    assert load_tokenizer(tmp_path).stop_token_ids == expected


def with_special(folder: Path, *tokens: str) -> Tokenizer:
    """The tiny tokenizer with further special tokens."""
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Backend

    file = write_tokenizer(folder) / "tokenizer.json"
    backend = Backend.from_file(str(file))
    backend.add_special_tokens([AddedToken(token, special=True) for token in tokens])
    backend.save(str(file))
    return load_tokenizer(folder)


def test_a_reader_sees_the_special_tokens_that_carry_a_meaning(tmp_path: Path):
    """Tokenizers make <think> and <answer> special tokens; a reply without them has another format."""
    tokenizer = with_special(tmp_path, "<think>", "</think>", "<answer>", "</answer>", "<|call|>")
    text = "<think>\n12 + 34</think>\n<answer>46</answer><|call|>"
    ids = tokenizer.encode(text + "<|im_end|><|endoftext|>")
    assert tokenizer.decode(ids) == "\n12 + 34\n46"
    assert tokenizer.decode_reply(ids) == text
    assert tokenizer.decode_reply(ids, stop_ids=[tokenizer.encode("<|call|>")[0]]) == text.removesuffix(
        "<|call|>"
    )
    number = tokenizer.encode("6")[0]
    assert tokenizer.decode_reply([number], stop_ids=[number]) == "6", "a stop that is text stays text"


@given(st.lists(st.integers(0, 399), max_size=30))
def test_a_reply_without_such_tokens_reads_as_ever(ours: Tokenizer, ids: list[int]):
    start = ours.token_id("<|im_start|>")
    if start not in ids:
        assert ours.decode_reply(ids) == ours.decode(ids)


def test_pickles_by_its_folder(ours: Tokenizer):
    assert pickle.loads(pickle.dumps(ours)).encode("the cat") == ours.encode("the cat")


def test_errors_name_the_file(tmp_path: Path):
    with pytest.raises(MissingTokenizer, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(BrokenCheckpoint, match=r"tokenizer\.json: not a tokenizer"):
        load_tokenizer(tmp_path)


def test_neither_torch_nor_transformers_is_imported(folder: Path):
    code = (
        "import sys; from policies.tokenizer import load_tokenizer; from policies.facts import read_facts\n"
        f"load_tokenizer({str(folder)!r}).apply_chat_template([{{'role': 'user', 'content': 'x'}}])\n"
        "assert not {'torch', 'transformers', 'vllm', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
