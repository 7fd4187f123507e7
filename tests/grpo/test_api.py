"""The stable names: they import, docs/api.md lists exactly them, and the script there is the tested one."""

from __future__ import annotations

import re
from pathlib import Path

from grpo import api

ROOT = Path(__file__).resolve().parents[2]
DOC = (ROOT / "docs/api.md").read_text(encoding="utf-8")


def test_every_stable_name_imports_and_is_documented_there() -> None:
    for name in api.__all__:
        assert getattr(api, name).__doc__, name
    assert sorted(re.findall(r"^\| `(\w+)` \|", DOC, re.MULTILINE)) == sorted(api.__all__)
    assert len(set(api.__all__)) == len(api.__all__)


def test_nothing_else_is_offered() -> None:
    offered = {name for name in vars(api) if not name.startswith("_")} - {"annotations"}
    assert offered == set(api.__all__)


def test_the_script_of_the_page_is_the_example_that_the_tests_run() -> None:
    block = re.search(r"```python\n(.*?)```", DOC, re.DOTALL)
    assert block is not None
    assert block[1] == (ROOT / "examples/one_update.py").read_text(encoding="utf-8")
    assert set(re.findall(r"(?<!/)\bapi\.(\w+)", block[1])) <= set(api.__all__)
