"""What a submitted job runs: the recipe's own stage, with the flags that its command takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from grpo.cli import app
from grpo.common.errors import ConfigError, RunError
from grpo.stages.registry import STAGES
from grpo.tools import submit
from grpo.tools.submit import command_of, job_command


@pytest.mark.parametrize(
    ("recipe", "command"),
    [
        ("r1-zero-tiny", "rl"),
        ("tiny-base", "pretrain"),
        ("smollm2-gsm8k-sft-lora", "sft"),
        ("r1-distill", "distill"),
    ],
)
def test_the_recipe_says_the_command(recipe: str, command: str) -> None:
    assert command_of(recipe) == command


def test_a_graph_is_run_and_a_recipe_that_does_not_say_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[graph]\nseed = 1\n")
    assert command_of(str(file)) == "run"
    file.write_text('stage = "sfft"')
    with pytest.raises(ConfigError, match=r"stage = 'sfft'; say one of .*sft"):
        command_of(str(file))


@pytest.mark.parametrize("stage", [*STAGES, "run"])
def test_every_stage_is_a_command_that_takes_the_jobs_flags(stage: str) -> None:
    """Parsed by the command itself: an unknown option would be a usage error."""
    group: Any = get_command(app)
    words = job_command(stage, "recipe.toml", ["seed=1"])
    assert words[1:4] == ["-m", "grpo.cli", stage]
    context = group.commands[stage].make_context(stage, words[4:])
    assert context.params["recipe"] == "recipe.toml"
    assert context.params["set_"] == ["seed=1"]
    assert context.params.get("address", "auto") == "auto"


class Server:
    """A job server that refuses so many times."""

    def __init__(self, refusals: int, reason: str) -> None:
        self.refusals, self.reason, self.asked = refusals, reason, 0

    def submit_job(self, entrypoint: str) -> str:
        self.asked += 1
        if self.asked <= self.refusals:
            raise RuntimeError(self.reason)
        return f"job of {entrypoint}"


NOT_YET = "Request failed with status code 500: No available agent to submit job, please try again later.."


def test_a_cluster_that_has_just_been_started_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "AGENT_PAUSE_S", 0.0)
    server: Any = Server(3, NOT_YET)
    assert submit._submit(server, "x") == "job of x"
    assert server.asked == 4


@pytest.mark.parametrize(("reason", "patience"), [("bad entrypoint", 60.0), (NOT_YET, -1.0)])
def test_a_job_that_is_refused_is_an_error(
    reason: str, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "AGENT_TIMEOUT_S", patience)
    server: Any = Server(3, reason)
    with pytest.raises(RunError, match="did not take the job"):
        submit._submit(server, "x")
    assert server.asked == 1
