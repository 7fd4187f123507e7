"""Names that come from data and recipes in what is printed: marks of rich's markup in them change nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rich.console import Console
from rich.text import Text

from grpo.graph.tables import printed
from grpo.rl.evaluate import EvalResult
from grpo.stages.evaluate import table
from grpo.tracking.screen import MOST_GROUPS, eval_line, summary_line

NAMES = ["level=[/INST]", "level=[bold]", "[odd] ünï 模型", "a[1].py:exact", "k=\\"]


def result(name: str, groups: int = 1) -> EvalResult:
    """An evaluation whose names are all this one."""
    return EvalResult(
        step=0, pass1=0.5, ci_low=0.4, ci_high=0.6, passk=0.5, pass_at={"1": 0.5, "2": 0.6}, consk=0.5, format=None,
        components={name: 0.5}, length=3.0, truncated=0.0, n_problems=8, k=2, abstained=0, votes_undecided=0,
        by_group={f"{name}{number or ''}": 0.25 for number in range(groups)},
        by_kind={name: {name: 0.5}, "other": {name: 0.5}},
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_line_has_names_as_they_are(name: str) -> None:
    assert f"{name}:0.25" in Text.from_markup(eval_line(result(name).figures())).plain
    metrics = {"reward/total": 1.0, f"reward/{name}": 0.25}
    assert f"{name} 0.25" in Text.from_markup(summary_line(1, 2, metrics, 0.0)).plain


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "make",
    [lambda name: table(result(name), name), lambda name: printed(name, [{"stage": name, "pass1": 0.5}])],
    ids=["evaluation", "graph"],
)
def test_a_table_has_names_as_they_are(make: Callable[[str], object], name: str) -> None:
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        console.print(make(name))
    assert name in captured.get()


def test_a_column_with_a_value_for_each_problem_does_not_fill_the_screen() -> None:
    line = Text.from_markup(eval_line(result("level=0.1", groups=500).figures())).plain
    assert line.count("level=") == MOST_GROUPS
    assert line.endswith("… 488 more")
