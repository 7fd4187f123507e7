"""The parity table of `grpo doctor --policies`; what a row measures is in tests/rollout/test_engine.py."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace

import pytest
from typer.testing import CliRunner

from grpo.cli import app
from grpo.common.errors import ConfigError
from grpo.tools import doctor_policies
from grpo.tools.doctor_policies import measured, presets, problem
from grpo.tools.policy_parity import Parity
from policies.families.registry import FAMILIES

GOOD = Parity("mini-v3", "float32", "deepseek_v3", 5e-5, 2e-6, 1.0, 100, 40, True)
IN_BFLOAT16 = replace(GOOD, dtype="bfloat16", largest=0.4, mean=0.02, routing=0.93)


def test_every_family_has_a_row() -> None:
    found = presets(())
    assert {name for name, family in FAMILIES.items() if set(found) & family.presets.keys()} == set(FAMILIES)
    with pytest.raises(ConfigError, match=r"unknown preset 'mini-v4'; there are .*mini-v3"):
        presets(["mini-v4"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (GOOD, ""),
        (replace(GOOD, routing=None), ""),
        (IN_BFLOAT16, ""),
        (replace(GOOD, largest=2e-4), "differ by 2.0e-04 nats"),
        (replace(GOOD, largest=float("nan")), "differ by nan nats"),
        (replace(GOOD, routing=0.99), "other experts for 1.00% of the tokens"),
        (replace(IN_BFLOAT16, mean=0.5), "0.50 nats on average"),
        (replace(GOOD, round_trip=False), "does not save again"),
        (replace(GOOD, error="RolloutError: no"), "RolloutError: no"),
    ],
)
def test_a_row_is_judged(row: Parity, message: str) -> None:
    assert message in problem(row)
    assert bool(problem(row)) == bool(message)


def scripted(monkeypatch: pytest.MonkeyPatch, rows: list[Parity], then: str = "") -> None:
    """A child that prints rows, then does something else."""
    lines = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
    code = f"import os, sys, time; print({lines!r}, end='', flush=True); {then}"
    monkeypatch.setattr(doctor_policies, "CHILD", (sys.executable, "-c", code))


def test_rows_that_a_crash_took_away_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(
        monkeypatch, [GOOD], "print('noise'); print('no memory', file=sys.stderr, flush=True); os.abort()"
    )
    first, second = measured([("mini-v3", "float32"), ("mini-v2", "float32")])
    assert first == GOOD
    assert second.error == "the process of the engine ended: no memory"


def test_a_child_that_hangs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, [GOOD], "time.sleep(600)")
    monkeypatch.setattr(doctor_policies, "SECONDS_EACH", 1.0)
    rows = measured([("mini-v3", "float32"), ("mini-v2", "float32")])
    assert next(rows) == GOOD, "a row must be there while the child still runs"
    assert "not done after 2 s" in next(rows).error


def test_command_prints_the_table_and_fails_with_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [GOOD, IN_BFLOAT16]
    scripted(monkeypatch, rows)
    words = ["doctor", "--policies", "--preset", "mini-v3"]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "93.00%" in done.output
    assert "100, 40" in done.output
    rows[0] = replace(GOOD, largest=1.0)
    scripted(monkeypatch, rows)
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 1
    assert [row["problem"] for row in json.loads(done.output)] == [
        "engine and learner differ by 1.0e+00 nats",
        "",
    ]
