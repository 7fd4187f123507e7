import importlib.metadata
import textwrap

import pytest

from rewards.config import component_label
from rewards.errors import RewardLoadError
from rewards.registry import BUILTINS, load_reward, with_absolute_path
from rewards.rows import RewardRow
from rewards.signatures import call_row


@pytest.fixture
def plugin(tmp_path):
    (tmp_path / "helper_of_plugin.py").write_text("BONUS = 3\n")
    file = tmp_path / "my_rewards.py"
    file.write_text(
        textwrap.dedent(
            """
            from dataclasses import dataclass
            import helper_of_plugin

            @dataclass
            class Holder:
                x: int = 1

            def length(row):
                return len(row.completion) + helper_of_plugin.BONUS

            class Space:
                @staticmethod
                def inner(row):
                    return 1

            NUMBER = 3
            """
        )
    )
    return file


@pytest.mark.parametrize("name", [n for n, b in BUILTINS.items() if not b.loads_model])
def test_every_builtin_loads(name):
    params = {"max_tokens": 10, "cache_tokens": 5} if name == "overlong" else {}
    if BUILTINS[name].asks_llm:
        params = {"llm": {"url": "http://127.0.0.1:9/v1", "cache": "unused"}}
    assert load_reward(name, params).is_row_wise


def test_file_by_absolute_and_relative_path_with_siblings(plugin, monkeypatch):
    assert call_row(load_reward(f"{plugin}:length"), RewardRow("ab")).total == 5.0
    monkeypatch.chdir(plugin.parent)
    assert call_row(load_reward("my_rewards.py:length"), RewardRow("ab")).total == 5.0
    assert call_row(load_reward("./my_rewards.py:Space.inner"), RewardRow("ab")).total == 1.0


def test_module_on_the_path(plugin, monkeypatch):
    monkeypatch.syspath_prepend(plugin.parent)
    assert call_row(load_reward("my_rewards:length"), RewardRow("ab")).total == 5.0


def test_entry_point(plugin, monkeypatch):
    monkeypatch.syspath_prepend(plugin.parent)
    point = importlib.metadata.EntryPoint("shiny", "my_rewards:length", "grpo.rewards")
    monkeypatch.setattr("rewards.registry.entry_points", lambda: {"shiny": point})
    assert call_row(load_reward("shiny"), RewardRow("ab")).total == 5.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acuracy", "did you mean accuracy"),
        ("zzz", "known: accuracy"),
        ("{dir}/my_rewards.py:lenght", "did you mean length"),
        ("{dir}/my_rewards.py:zzz", "found: "),
        ("{dir}/my_reward.py:length", "did you mean my_rewards.py"),
        ("{dir}/my_rewards.py:NUMBER", "not a function"),
        ("{dir}/my_rewards.py:", "write package.module:function"),
        ("no_such_package.module:f", "no module 'no_such_package'"),
        ("json:loads_", "did you mean loads"),
        ("{dir}/my_rewards.py", "name a function in it"),
        ("{dir}/broken.py:f", r"broken\.py, line 1\)$"),
        ("{dir}/broken.py:f", "SyntaxError"),
        ("{dir}/exits.py:f", "SystemExit"),
        ("{dir}/imports.py:f", "no_such_dependency"),
    ],
)
def test_message_teaches(plugin, name, message):
    (plugin.parent / "broken.py").write_text("def f(:\n")
    (plugin.parent / "exits.py").write_text("import sys; sys.exit(0)\n")
    (plugin.parent / "imports.py").write_text("import no_such_dependency\n")
    with pytest.raises(RewardLoadError, match=message):
        load_reward(name.format(dir=plugin.parent))


def test_builtin_with_missing_or_unknown_params():
    with pytest.raises(RewardLoadError, match="max_tokens, cache_tokens"):
        load_reward("overlong")
    with pytest.raises(RewardLoadError, match="no parameter ngrams"):
        load_reward("repetition", {"ngrams": 3})


def test_labels_and_absolute_paths(tmp_path):
    assert component_label("a/b.py:f") == "f"
    assert component_label("accuracy") == "accuracy"
    assert with_absolute_path("b.py:f", tmp_path) == f"{tmp_path / 'b.py'}:f"
    assert with_absolute_path("package.module:f", tmp_path) == "package.module:f"
    assert with_absolute_path("accuracy", tmp_path) == "accuracy"
