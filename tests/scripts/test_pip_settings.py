"""scripts/pip_settings.py: pip's settings in uv's words."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scripts.load import load

settings = load("pip_settings")


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whose pip and uv have no settings."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_"))]:
        monkeypatch.delenv(name)
    settings._listed.cache_clear()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # pip then reads no other file either


@pytest.mark.usefixtures("no_settings")
def test_pips_own_files_and_variables_become_uvs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real pip is asked; a variable stands before a file, and several lines are several values."""
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://user:p%40ss@one.example/simple\ntimeout = 7\n"
        "[install]\nextra-index-url =\n    https://two.example/simple\n    https://three.example/simple\n"
        "find-links = /a /b\nno-index = yes\n[list]\nindex-url = https://wrong.example/simple\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_TIMEOUT", "9")
    options, found = settings.for_uv(sys.executable)
    assert found["UV_DEFAULT_INDEX"] == "https://user:p%40ss@one.example/simple"
    assert found["UV_INDEX"] == "https://two.example/simple https://three.example/simple"
    assert found["UV_FIND_LINKS"] == "/a,/b"
    assert found["UV_HTTP_TIMEOUT"] == "9"
    assert options == ["--no-index"]
    assert found["PATH"] == os.environ["PATH"]


@pytest.mark.usefixtures("no_settings")
def test_what_uv_was_told_itself_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example/simple")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://uv.example/simple")
    monkeypatch.setenv("UV_INDEX_STRATEGY", "first-index")
    _, found = settings.for_uv(sys.executable)
    assert found["UV_DEFAULT_INDEX"] == "https://uv.example/simple"
    assert found["UV_INDEX_STRATEGY"] == "first-index"


@pytest.mark.usefixtures("no_settings")
def test_without_settings_uv_goes_where_pip_goes() -> None:
    options, found = settings.for_uv(sys.executable)
    assert options == []
    assert {name: value for name, value in found.items() if name not in os.environ} == settings.ALWAYS


@given(st.dictionaries(st.sampled_from(settings.SECTIONS), st.text(alphabet="abc '\"\\\n", min_size=1)))
def test_the_last_section_wins_whatever_the_value_holds(values: dict[str, str]) -> None:
    text = "".join(f"{section}.proxy={value!r}\n" for section, value in values.items())
    expected = [values[section] for section in settings.SECTIONS if section in values]
    assert settings.read_settings(text) == ({"proxy": expected[-1]} if expected else {})


def test_uv_knows_every_variable() -> None:
    """A variable that uv does not read would be a setting lost without a word."""
    uv = Path(sys.executable).parent / "uv"
    if not uv.exists():
        pytest.skip("uv comes with `make install`")
    program = uv.read_bytes()
    named = {*settings.UV_NAME.values(), *settings.ALWAYS} - {
        "ALL_PROXY"
    }  # read in parts by a library of uv's
    assert {name for name in named if name.encode() not in program} == set()
