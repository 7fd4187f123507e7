from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.common.console import clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (-3, "0:00"),
        (0.4, "0:00"),
        (59.6, "1:00"),
        (123, "2:03"),
        (3599.7, "1:00:00"),
        (3723, "1:02:03"),
        (100 * 3600, "100:00:00"),
    ],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@given(st.floats(0, 1e7))
def test_a_clock_reads_back_to_the_nearest_second(seconds: float) -> None:
    read = 0
    for part in clock(seconds).split(":"):
        read = 60 * read + int(part)
    assert abs(read - seconds) <= 0.5


PLACE = re.compile(r"(dir|path|folder|out|page|report|kept|place|file|target|repo_id|recipe|source)\b[^(]*$")
"""Ends of expressions whose value a user names."""


def marked_up(tree: ast.AST) -> Iterator[ast.FormattedValue]:
    """Yield the values that f-strings of `say` and `starting` print without `escape` around them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "escape":
                continue
            if node.func.id in ("say", "starting"):
                yield from (part for part in outside_escape(node) if isinstance(part, ast.FormattedValue))


def outside_escape(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        is_escaped = isinstance(child, ast.Call) and getattr(child.func, "id", "") == "escape"
        if not is_escaped:
            yield child
            yield from outside_escape(child)


def test_names_of_a_user_are_printed_as_they_are_not_as_markup() -> None:
    """A run in `runs/[odd]` would be reported as `runs/`."""
    wrong, seen = [], 0
    for file in sorted((Path(__file__).parents[3] / "grpo").rglob("*.py")):
        for value in marked_up(ast.parse(file.read_text(encoding="utf-8"))):
            seen += 1
            text = ast.unparse(value.value)
            if value.format_spec is None and not text.startswith("escape(") and PLACE.search(text):
                wrong.append(f"{file.name}:{value.lineno} {text}")
    assert wrong == []
    assert seen > 50


def test_a_run_with_marks_in_its_name_is_reported_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from grpo.tracking.report import show

    monkeypatch.setattr(show, "write_report", lambda run_dir, out: out)
    show.show_policy(tmp_path / "[odd] ünï")
    assert f"{tmp_path / '[odd] ünï' / 'policy'} " in capsys.readouterr().out
