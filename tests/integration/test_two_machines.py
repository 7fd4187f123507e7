"""R1-Zero with the ranks on one machine and the engines on another: no shared memory, no localhost between them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from grpo.tracking.ledger_file import read_ledger
from tests.integration.conftest import node
from tests.integration.machines import Machine, two_machines, why_not
from tests.tiny import command, environment, make_base, outcome, run_grpo, wait_for_rows, write_recipe

REASON = why_not()
pytestmark = [
    pytest.mark.engine,
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(REASON is not None, reason=str(REASON)),
]
PARTS = ("--set", "engine.workers=2", "--set", "learner.ranks=2")
PORT = 6399


@dataclass(frozen=True)
class Pair:
    """A cluster of two machines, a node on each."""

    first: Machine
    second: Machine
    second_node: psutil.Process

    def start(self, folder: Path, base: Path, transport: str) -> subprocess.Popen[str]:
        """Start the run on the first machine."""
        keys = ("--set", "placement=disaggregated", "--set", f"engine.transport={transport}")
        recipe = write_recipe(folder, base, folder / "run")
        words = command("rl", recipe, "--address", f"{self.first.address}:{PORT}", *PARTS, *keys)
        return subprocess.Popen(
            self.first.words(words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
        )

    def actors(self, machine: Machine) -> set[str]:
        """Return which workers of a run are on the machine now."""
        own = os.stat(f"/run/netns/{machine.namespace}").st_ino
        found = set()
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or ())
            try:
                inside = os.stat(f"/proc/{process.pid}/ns/net").st_ino == own
            except OSError:
                continue
            found |= {name for name in ("RolloutWorker", "RankWorker") if inside and name in line}
        return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def alone(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Outcome of the same run on one machine."""
    folder = tmp_path_factory.mktemp("alone")
    run_grpo("rl", write_recipe(folder, base, folder / "run"), *PARTS)
    return outcome(folder / "run")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with two_machines(tmp_path) as (first, second):
        head = [
            "--head",
            "--node-ip-address",
            first.address,
            "--port",
            str(PORT),
            "--include-dashboard",
            "false",
        ]
        join = ["--address", f"{first.address}:{PORT}", "--node-ip-address", second.address]
        with (
            node(head, tmp_path / "first", _is_up, first),
            node(join, tmp_path / "second", _is_up, second) as joined,
        ):
            yield Pair(first, second, psutil.Process(joined.pid))


def _is_up(log: str) -> bool:
    return "Ray runtime started" in log


@pytest.mark.parametrize("transport", ["object_store", "gloo"])
def test_weights_travel_between_machines(
    base: Path, alone: dict[str, Any], pair: Pair, tmp_path: Path, transport: str
) -> None:
    with pair.start(tmp_path, base, transport) as run:
        wait_for_rows(tmp_path / "run", 2, run)
        places = pair.actors(pair.first), pair.actors(pair.second)
        out, _ = run.communicate(timeout=300)
    assert run.returncode == 0, out
    assert places == ({"RankWorker"}, {"RolloutWorker"})
    assert outcome(tmp_path / "run") == alone


def test_the_machine_of_the_engines_is_lost(
    base: Path, alone: dict[str, Any], pair: Pair, tmp_path: Path
) -> None:
    with pair.start(tmp_path, base, "gloo") as run:
        wait_for_rows(tmp_path / "run", 2, run)
        for process in [*pair.second_node.children(recursive=True), pair.second_node]:
            process.kill()
        out, _ = run.communicate(timeout=400)
    assert run.returncode == 0, out
    assert outcome(tmp_path / "run") == alone
    rows = read_ledger(tmp_path / "run" / "ledger.jsonl")
    assert any(row.state == "lost" for row in rows)
    done = [row.chunk for row in rows if row.state == "done"]
    assert sorted(done) == sorted({row.chunk for row in rows}), "a prompt was lost, or trained on twice"
