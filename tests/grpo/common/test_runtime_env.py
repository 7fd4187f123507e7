"""Workers get what was asked for, and nothing is lost on the way to them."""

from pathlib import Path

import pytest

from grpo.common import runtime_env as handing
from grpo.common.errors import ConfigError
from grpo.common.runtime_env import describe, for_workers, hand_over, handed_over, runtime_env, too_large


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(handing.VARIABLE, "{}")


def test_nothing_asked_is_nothing() -> None:
    assert runtime_env() == {}
    hand_over({})
    assert handed_over() == {}


def test_variables_have_their_value_or_the_one_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "a=b")
    assert runtime_env(["TOKEN", "MODE=x=y", "EMPTY="])["env_vars"] == {
        "TOKEN": "a=b",
        "MODE": "x=y",
        "EMPTY": "",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env": ["NOT_SET_HERE"]}, "--env NOT_SET_HERE: the variable is not set here"),
        ({"env": ["=x"]}, "expected NAME or NAME=VALUE"),
        ({"env": ["a b=x"]}, "expected NAME or NAME=VALUE"),
        ({"env": ["1A=x"]}, "expected NAME or NAME=VALUE"),
        ({"working_dir": Path("/no/such")}, "--working-dir /no/such: no such folder"),
        ({"py_modules": [Path("/no/such.whl")]}, "--py-modules /no/such.whl: no such folder"),
        ({"exclude": ["big"]}, "--exclude is read with"),
    ],
)
def test_what_cannot_be_handed_over_names_its_option(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        runtime_env(**arguments)  # type: ignore[arg-type]


def test_files_leave_out_what_no_worker_needs(tmp_path: Path) -> None:
    made = runtime_env([], tmp_path, [tmp_path], ["big"])
    assert (made["working_dir"], made["py_modules"]) == (str(tmp_path), [str(tmp_path)])
    assert {"runs", ".venv", ".git", "*.safetensors", "big"} <= set(made["excludes"])


def test_a_file_of_the_project_is_named_as_the_copy_has_it(tmp_path: Path) -> None:
    assert for_workers(f"{tmp_path}/own.py:f") == f"{tmp_path}/own.py:f"
    hand_over(runtime_env([], tmp_path))
    assert handed_over()["working_dir"] == str(tmp_path)
    assert for_workers(f"{tmp_path}/sub/own.py:f") == "./sub/own.py:f"
    assert for_workers("/elsewhere/own.py:f") == "/elsewhere/own.py:f"
    assert for_workers("accuracy") == "accuracy"
    assert for_workers("package.module:f") == "package.module:f"


def test_values_of_variables_are_not_shown(tmp_path: Path) -> None:
    shown = describe(runtime_env(["TOKEN=secret"], tmp_path))
    assert shown == f"variables TOKEN; files of {tmp_path}"
    assert describe({}) == ""


def test_files_that_are_too_large_name_the_largest_that_go(tmp_path: Path) -> None:
    for name, size in (("runs", 9), ("data", 5), ("src", 2), ("a.bin", 7), ("x", 1), ("y", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(bytes(size * 10**6))
    text = str(too_large(runtime_env([], tmp_path), ValueError("500 MiB")))
    assert "(500 MiB)" in text
    assert "data (5.0 MB), src (2.0 MB), x (1.0 MB)" in text
    assert "--exclude" in text
