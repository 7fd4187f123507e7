"""A recipe's template as a chat template: a server must read the tokens that training read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError

from data_recipes.chat_templates import ONE_TURN, chat_template
from data_recipes.errors import DataError
from data_recipes.templates import render
from policies.chat_template import compile_template
from policies.chat_template import render as render_jinja
from policies.tokenizer import Tokenizer, load_tokenizer
from tests.policies.tiny import CHAT_TEMPLATE, write_tokenizer

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


def folder(path: Path, adds_bos: bool = False, template: str = CHAT_TEMPLATE) -> Tokenizer:
    write_tokenizer(path, chat_template=template)
    if adds_bos:
        tree = json.loads((path / "tokenizer.json").read_text())
        bos = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
        first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
        tree["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [bos, first],
            "pair": [first, second],
            "special_tokens": {
                "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}
            },
        }
        (path / "tokenizer.json").write_text(json.dumps(tree))
    return load_tokenizer(path)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "bos"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return folder(tmp_path_factory.mktemp("tokenizer"), request.param)


def served(tokenizer: Tokenizer, template: str | None, question: str) -> list[int]:
    """The ids that a server makes of one message: rendered, then tokenized without special tokens."""
    text = tokenizer.chat_template if template is None else template
    messages = [{"role": "user", "content": question}]
    rendered = render_jinja(
        compile_template(text), messages, add_generation_prompt=True, **tokenizer.special_tokens
    )
    return tokenizer.encode(rendered)


@given(question=TEXT, prefill=TEXT, preamble=TEXT, system=st.none() | TEXT)
@pytest.mark.parametrize("name", ["r1-zero", "plain", "chat"])
def test_a_server_reads_the_tokens_of_training(
    tokenizer: Tokenizer, name: str, question: str, prefill: str, preamble: str, system: str | None
) -> None:
    preamble = preamble if name == "plain" else ""
    system = system if name == "chat" else None
    expected = render(name, question, tokenizer, system, prefill, preamble)
    wanted = tokenizer.encode(expected.text, add_special_tokens=expected.add_special_tokens)
    template = chat_template(name, tokenizer, system, prefill, preamble)
    assert served(tokenizer, template, question) == wanted


@pytest.mark.parametrize("ending", ["", "\n", "{% if true %}\n  x  \n{% endif %}\n", "  \n\n", "{% endif %}"])
def test_white_space_around_the_tokenizers_own_template_stays(tmp_path: Path, ending: str) -> None:
    own = f"\n {CHAT_TEMPLATE}" + (ending if ending != "{% endif %}" else "")
    own = "{% if true %}\n" + own + ending if ending == "{% endif %}" else own
    tokenizer = folder(tmp_path, template=own)
    expected = render("chat", "hi", tokenizer, "be brief", "<think>\n")
    template = chat_template("chat", tokenizer, "be brief", "<think>\n")
    assert served(tokenizer, template, "hi") == tokenizer.encode(expected.text)


def test_the_tokenizers_own_template_needs_no_other(tokenizer: Tokenizer) -> None:
    assert chat_template("chat", tokenizer) is None


def test_a_conversation_behind_a_template_without_turns_is_refused(tokenizer: Tokenizer) -> None:
    compiled = compile_template(chat_template("r1-zero", tokenizer) or "")
    question = {"role": "user", "content": "1"}
    for messages in (
        [question, {"role": "assistant", "content": "2"}, question],
        [{"role": "system", "content": "x"}],
    ):
        with pytest.raises(TemplateError, match=ONE_TURN):
            render_jinja(compiled, messages, add_generation_prompt=True)


def test_what_cannot_be_served_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, chat_template=None)
    with pytest.raises(DataError, match="no chat template"):
        chat_template("chat", load_tokenizer(tmp_path))
    with pytest.raises(ValueError, match="there are r1-zero, chat, plain"):
        chat_template("other", load_tokenizer(tmp_path))
