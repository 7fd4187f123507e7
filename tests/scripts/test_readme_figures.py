"""The figures in README.md, docs/results.md and docs/r1_tiny.md are those of benchmarks/results/."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.scripts.load import ROOT, load

figures = load("readme_figures")
CLAIMS = figures.by_page(figures.claims_of_results(figures.RESULTS))
NO_RESULT = {
    "3.11": "CPython's version",
    "2.0": "Apache-2.0",
    "2512.12948": "the paper",
    "2501.12948": "the paper",
}


@pytest.mark.parametrize("page", sorted(CLAIMS))
def test_the_page_has_the_figures_of_the_result_files(page: str) -> None:
    """`python scripts/readme_figures.py --write` puts them right."""
    assert list(figures.differences((ROOT / page).read_text(), CLAIMS[page])) == []


def test_no_figure_of_the_readme_is_without_a_result_file() -> None:
    """Every number with a decimal point outside code, and every number in a table of figures."""
    text = (ROOT / "README.md").read_text()
    covered = [span for claim in CLAIMS["README.md"] for span in spans(claim.find(text))]
    prose = re.sub(r"```.*?```|`[^`\n]*`|\]\([^)]*\)", lambda m: " " * len(m[0]), text, flags=re.DOTALL)
    cells = r"(?m)(?<=[|→] )\d[\d.,]*(?= [|→])"
    loose = [
        match[0]
        for pattern in (r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", cells)
        for match in re.finditer(pattern, prose)
        if not any(start <= match.start() and match.end() <= end for start, end in covered)
        if match[0] not in NO_RESULT and not names_a_seed(prose, match)
    ]
    assert loose == []


def spans(match: re.Match[str]) -> list[tuple[int, int]]:
    return [match.span(index + 1) for index in range(len(match.groups()))]


def names_a_seed(text: str, match: re.Match[str]) -> bool:
    return text[max(0, match.start() - 3) : match.start()].endswith("\n| ")


def edit(results: Path, name: str, path: list[Any], value: Any) -> None:
    file = results / f"{name}.json"
    tree = json.loads(file.read_text())
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("name", "path", "value", "shown"),
    [
        ("demo_seeds", ["runs", 1, "final_pass1"], 0.5, "0.500"),
        ("demo_seeds", ["runs", 2, "minutes"], 9.95, "9.9"),
        ("smollm2_arithmetic", ["evals", 1, "ci_low"], 0.1, "0.100"),
        ("smollm2_arithmetic", ["samples_after", 0, "score"], 0.25, "6"),
        ("r1_zero_tiny_long", ["evals", 3, "length"], 77.2, "77"),
        ("r1_tiny", ["spread", "stages", "R1", "safe"], [0.5, 0.4, 0.6], "0.50"),
        ("r1_tiny", ["spread", "students", "Qwen, RL", "pass1"], [0.31, 0.3, 0.4], "0.31"),
    ],
)
def test_another_result_is_reported_and_can_be_written(
    name: str, path: list[Any], value: Any, shown: str, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    shutil.copytree(figures.RESULTS, results)
    edit(results, name, path, value)
    changed = figures.by_page(figures.claims_of_results(results))
    texts = {page: (ROOT / page).read_text() for page in changed}
    lines = [line for page, text in texts.items() for line in figures.differences(text, changed[page])]
    assert any(f"should be {shown}," in line for line in lines), lines
    for page, text in texts.items():
        written = figures.corrected(text, changed[page])
        assert list(figures.differences(written, changed[page])) == []
        assert written.count("\n") == text.count("\n")


def test_a_claim_whose_words_are_gone_is_an_error() -> None:
    claim = figures.Claim("README.md", "held {} of {} runs", ("1", "2"))
    assert list(figures.differences("held\n1 of 2 runs", [claim])) == []
    assert "expected once" in next(iter(figures.differences("won 1 of 2 runs", [claim])))
    assert "expected once" in next(iter(figures.differences("held 1 of 2 runs, held 1 of 2 runs", [claim])))
    with pytest.raises(ValueError, match="1 figures for 2 slots"):
        figures.Claim("README.md", "held {} of {} runs", ("1",)).find("held 1 of 2 runs")


def test_the_script_fails_where_a_page_differs_and_writes_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    for page in CLAIMS:
        shutil.copy(ROOT / page, tmp_path / page)
    readme = tmp_path / "README.md"
    right = readme.read_text()
    row = re.search(r"^\| 1 \| [\d.]+ → ([\d.]+) \|", right, re.MULTILINE)
    assert row is not None
    readme.write_text(right.replace(row[0], row[0].replace(f"→ {row[1]}", "→ 0.123")))
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["readme_figures.py"])
    assert figures.main() == 1
    assert f"0.123 should be {row[1]}" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["readme_figures.py", "--write"])
    assert figures.main() == 0
    assert readme.read_text() == right
