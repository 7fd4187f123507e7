"""A student's folder with another context or chat template: the base's own files, and what was asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policies.errors import PolicyError
from policies.facts import read_facts
from policies.tokenizer import load_tokenizer
from policies.variant import CHAT_TEMPLATES, with_changes
from tests.policies.tiny import write_tokenizer

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "vocab_size": 400,
    "hidden_size": 8,
    "max_position_embeddings": 64,
    "rope_theta": 10000,
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = write_tokenizer(tmp_path / "model", chat_template=None)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def test_without_changes_it_is_the_folder_itself(base: Path, tmp_path: Path) -> None:
    assert with_changes(base, tmp_path / "run" / "base") == base
    assert not (tmp_path / "run").exists()


def test_the_changes_are_seen_and_nothing_else_changes(base: Path, tmp_path: Path) -> None:
    made = with_changes(base, tmp_path / "run" / "base", max_positions=4096, chat_template="deepseek-v2")
    assert read_facts(made, need_weights=False).max_positions == 4096
    assert json.loads((made / "config.json").read_text()) == CONFIG | {"max_position_embeddings": 4096}
    assert json.loads((base / "config.json").read_text()) == CONFIG
    before, after = load_tokenizer(base), load_tokenizer(made)
    assert (before.has_chat_template, after.has_chat_template) == (False, True)
    assert after.encode("2 + 3") == before.encode("2 + 3")
    same = {p.name for p in base.iterdir()} - {"config.json"}
    assert all((made / name).resolve() == (base / name).resolve() for name in same)
    again = with_changes(base, tmp_path / "run" / "base", max_positions=128)
    assert read_facts(again, need_weights=False).max_positions == 128
    assert not load_tokenizer(again).has_chat_template
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["base"]


def test_a_template_of_the_base_is_replaced_not_mixed(base: Path, tmp_path: Path) -> None:
    (base / "chat_template.jinja").write_text("old {{ messages }}")
    (tmp_path / "own.jinja").write_text("{% for m in messages %}<{{ m.content }}>{% endfor %}")
    made = with_changes(base, tmp_path / "new", chat_template=str(tmp_path / "own.jinja"))
    said = [{"role": "user", "content": "hi"}]
    assert load_tokenizer(made).apply_chat_template(said) == "<hi>"
    assert (base / "chat_template.jinja").read_text() == "old {{ messages }}"


def test_v2s_template_is_the_one_that_its_readme_prints(base: Path, tmp_path: Path) -> None:
    made = load_tokenizer(with_changes(base, tmp_path / "new", chat_template="deepseek-v2"))
    said = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "U"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "V"},
    ]
    begin, end = made.special_tokens["bos_token"], made.special_tokens["eos_token"]
    assert made.apply_chat_template(said) == f"{begin}S\n\nUser: U\n\nAssistant: A{end}User: V\n\nAssistant:"
    assert (
        made.apply_chat_template(said[:3], add_generation_prompt=False)
        == f"{begin}S\n\nUser: U\n\nAssistant: A{end}"
    )


@pytest.mark.parametrize(
    ("template", "found"), [("chatml", "none of deepseek-v2"), ("empty.jinja", "no chat template")]
)
def test_what_is_no_template_is_refused(base: Path, tmp_path: Path, template: str, found: str) -> None:
    (tmp_path / "empty.jinja").write_text("hello")
    name = str(tmp_path / template) if "." in template else template
    with pytest.raises(PolicyError, match=found):
        with_changes(base, tmp_path / "new", chat_template=name)
    assert not (tmp_path / "new").exists()
    assert list(CHAT_TEMPLATES) == ["deepseek-v2"]
