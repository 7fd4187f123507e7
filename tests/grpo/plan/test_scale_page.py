"""docs/scale.md: its table is what the recipes' plans give today."""

from __future__ import annotations

from pathlib import Path

from grpo.plan.scale_table import lines

PAGE = Path(__file__).resolve().parents[3] / "docs" / "scale.md"


def test_the_table_is_what_the_plans_give() -> None:
    written = (
        PAGE.read_text(encoding="utf-8").partition("<!-- scale table -->\n")[2].partition("<!-- end -->")[0]
    )
    assert written.rstrip("\n") == "\n".join(lines()), "run python -m grpo.plan.scale_table and put it in"
