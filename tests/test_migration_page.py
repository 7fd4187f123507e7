"""The tables of docs/migration.md name metrics that exist (its keys are checked with those of all pages)."""

from __future__ import annotations

import re
from pathlib import Path

from grpo.tracking.metrics import METRICS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "migration.md"


def test_every_metric_of_the_last_column_exists() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("Names of metrics:")[2]
    cells = [line.strip("|").split("|")[2] for line in table.splitlines() if line.startswith("|")]
    names = [name for cell in cells for name in re.findall(r"`([a-z_]+(?:/[a-z_]+)?)`", cell)]
    assert len(names) >= 8
    assert [name for name in names if name not in METRICS] == []
