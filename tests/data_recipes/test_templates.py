import json
from pathlib import Path

import pytest

from data_recipes.errors import DataError
from data_recipes.templates import R1_ZERO, check_template, render
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


HEAD = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
PREFILLS = {
    "R1's distilled models": (HEAD, "[assistant]<think>\\n", "<think>\n"),
    "no white space": (HEAD, "[assistant]<think>", "<think>"),
    "a sentence first": (HEAD, "[assistant]Let me solve it.\\n<think>", "Let me solve it.\n<think>"),
    "another opening": (HEAD, "[assistant]Sure: ", "Sure: "),
    "thinking switched off": (HEAD, "[assistant]<think>\\n\\n</think>\\n\\n", "<think>\n\n</think>\n\n"),
    "nothing": (HEAD, "[assistant]", ""),
    "white space": (HEAD, "[assistant]\\n", ""),
    "always there": (HEAD + "[assistant]<think>\\n", None, "<think>\n"),
    "reasoning written into the turn": (
        "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
        "{{ m.content }}{% endfor %}",
        "[assistant]<think>\\n\\n</think>\\n\\n",
        "<think>\n\n</think>\n\n",
    ),
    "a header of its own": (
        "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}</think>{% endif %}{{ m.content }}"
        "{% endfor %}",
        "[assistant]<think>",
        "<think>",
    ),
    "a turn without a header": ("{% for m in messages %}{{ m.content }}{% endfor %}", "Assistant:", ""),
    "a template that takes no reply": (
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('no') }}{% endif %}[{{ m.role }}]"
        "{{ m.content }}{% endfor %}",
        "[assistant]<think>",
        "<think>",
    ),
}  # fmt: skip


def with_template(folder: Path, tokenizer: Tokenizer, text: str, generation: str | None) -> Tokenizer:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text((tokenizer.folder / name).read_text())
    opening = (
        "" if generation is None else f"{{% if add_generation_prompt %}}{{{{ '{generation}' }}}}{{% endif %}}"
    )
    (folder / "chat_template.jinja").write_text(text.replace("\\n", "{{ '\\n' }}") + opening)
    return load_tokenizer(folder)


@pytest.mark.parametrize(("text", "generation", "prefill"), PREFILLS.values(), ids=PREFILLS.keys())
@pytest.mark.parametrize("question", ["7 * 4", "what is <think> for?", "[assistant]<think>\n"])
def test_the_templates_own_start_of_a_reply_is_found_by_rendering(
    tmp_path: Path,
    tiny_tokenizer: Tokenizer,
    text: str,
    generation: str | None,
    prefill: str,
    question: str,
) -> None:
    tokenizer = with_template(tmp_path, tiny_tokenizer, text, generation)
    rendered = render("chat", question, tokenizer)
    assert rendered.prefill == prefill
    assert rendered.text.endswith(rendered.prefill)
    more = render("chat", question, tokenizer, prefill="so ")
    assert (more.text, more.prefill) == (rendered.text + "so ", prefill + "so ")


def test_a_prompt_that_ends_with_an_open_think_is_seen_so_without_a_chat_template(
    tiny_tokenizer: Tokenizer,
) -> None:
    assert render("plain", "User: 1 + 1\nAssistant: <think>\n", tiny_tokenizer).prefill == "<think>\n"
    assert render("plain", "what is <think> for?", tiny_tokenizer).prefill == ""
    assert render("r1-zero", "1", tiny_tokenizer, prefill="<think>").prefill == "<think>"


@pytest.mark.parametrize(("prefill", "fix"), [("<think>\n", "remove prefill"), ("<think>\nso", "'so'")])
def test_two_opened_thinks_are_refused(
    tmp_path: Path, tiny_tokenizer: Tokenizer, prefill: str, fix: str
) -> None:
    tokenizer = with_template(tmp_path, tiny_tokenizer, HEAD, "[assistant]<think>\\n")
    with pytest.raises(DataError, match=rf"would read two <think>; .*{fix}"):
        check_template("chat", tokenizer, prefill)
    with pytest.raises(DataError, match="two <think>"):
        render("chat", "7 * 4", tokenizer, prefill=prefill)
    check_template("r1-zero", tokenizer, prefill)
