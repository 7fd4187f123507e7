import json

import pytest

from data_recipes.errors import DataError
from data_recipes.templates import R1_ZERO, render
from policies.tokenizer import Tokenizer, load_tokenizer

PRINTED = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The "
    "assistant first thinks about the reasoning process in the mind and then provides the user with the "
    "answer. "
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, "
    "respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. "
    "User: {prompt}. Assistant:"
)
"""DeepSeek-R1 (2501.12948 v1), Table 1."""


def test_r1_zero_template_is_the_printed_one() -> None:
    assert R1_ZERO == PRINTED


def test_the_question_is_put_in_as_it_is(tiny_tokenizer: Tokenizer) -> None:
    rendered = render("r1-zero", "what is {x} % {prompt}", tiny_tokenizer)
    assert rendered.text == PRINTED.replace("{prompt}", "what is {x} % {prompt}")
    assert rendered.add_special_tokens


def test_plain_is_the_question_and_prefill_comes_last(tiny_tokenizer: Tokenizer) -> None:
    assert render("plain", "1 + 1 =", tiny_tokenizer).text == "1 + 1 ="
    assert render("r1-zero", "1 + 1", tiny_tokenizer, prefill=" <think>").text.endswith("Assistant: <think>")


@pytest.fixture
def chatty(tmp_path, tiny_tokenizer: Tokenizer) -> Tokenizer:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((tiny_tokenizer.folder / name).read_text())
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["chat_template"] = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return load_tokenizer(tmp_path)


def test_chat_uses_the_tokenizers_template_and_adds_no_second_bos(chatty: Tokenizer) -> None:
    rendered = render("chat", "7 * 4", chatty, system="be brief", prefill="<think>\n")
    assert rendered.text == "<s>[system]be brief[user]7 * 4[assistant]<think>\n"
    assert not rendered.add_special_tokens


def test_chat_without_a_chat_template_is_an_error_that_names_the_fix(tiny_tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r'no chat template; take template = "r1-zero"'):
        render("chat", "7 * 4", tiny_tokenizer)


def test_unknown_template_is_refused(tiny_tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="r1-one"):
        render("r1-one", "7", tiny_tokenizer)
