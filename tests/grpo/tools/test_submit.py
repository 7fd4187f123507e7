"""What a submitted job runs: the recipe's own stage, with the flags that its command takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.job_submission import JobStatus
from typer.main import get_command

from grpo.cli import app
from grpo.common.errors import ConfigError, RunError
from grpo.common.runtime_env import runtime_env
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

    def submit_job(self, entrypoint: str, runtime_env: dict[str, Any]) -> str:
        self.asked += 1
        if self.asked <= self.refusals:
            raise RuntimeError(self.reason)
        return f"job of {entrypoint}"


NOT_YET = "Request failed with status code 500: No available agent to submit job, please try again later.."


def test_a_cluster_that_has_just_been_started_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "AGENT_PAUSE_S", 0.0)
    server: Any = Server(3, NOT_YET)
    assert submit._submit(server, "x", {}) == "job of x"
    assert server.asked == 4


@pytest.mark.parametrize(("reason", "patience"), [("bad entrypoint", 60.0), (NOT_YET, -1.0)])
def test_a_job_that_is_refused_is_an_error(
    reason: str, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "AGENT_TIMEOUT_S", patience)
    server: Any = Server(3, reason)
    with pytest.raises(RunError, match="did not take the job"):
        submit._submit(server, "x", {})
    assert server.asked == 1


class Cluster:
    """A job server with one job, whose log grows; the follower is interrupted after so many looks."""

    def __init__(
        self, interrupt_after: int | None, ends_as: JobStatus = JobStatus.SUCCEEDED, code: int = 0
    ) -> None:
        self.looks, self.interrupt_after = 0, interrupt_after
        self.status, self.ends_as, self.code = JobStatus.RUNNING, ends_as, code
        self.stopped: list[str] = []
        self.submitted: list[tuple[str, dict[str, Any]]] = []

    def submit_job(self, entrypoint: str, runtime_env: dict[str, Any]) -> str:
        self.submitted.append((entrypoint, runtime_env))
        return "job-1"

    def get_job_status(self, job: str) -> JobStatus:
        if job != "job-1":
            raise RuntimeError("404")
        return self.status

    def list_jobs(self) -> list[Any]:
        return [SimpleNamespace(submission_id="job-1"), SimpleNamespace(submission_id=None)]

    def get_job_logs(self, job: str) -> str:
        self.looks += 1
        if self.looks == self.interrupt_after:
            raise KeyboardInterrupt
        if self.looks >= 4:
            self.status = self.ends_as
        return "line\n" * self.looks

    def get_job_info(self, job: str) -> Any:
        return SimpleNamespace(status=self.status, message="why", driver_exit_code=self.code)

    def stop_job(self, job: str) -> bool:
        self.stopped.append(job)
        self.status = JobStatus.STOPPED
        return True


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Cluster]:
    def serving(interrupt_after: int | None = None, answer: str | None = None, **how: Any) -> Cluster:
        cluster = Cluster(interrupt_after, **how)
        monkeypatch.setattr(submit, "JobSubmissionClient", lambda address: cluster)
        monkeypatch.setattr(submit, "FOLLOW_PAUSE_S", 0.0)
        if answer is not None:
            terminal = SimpleNamespace(isatty=lambda: True, readline=lambda: answer)
            monkeypatch.setattr(submit.sys, "stdin", terminal)
            monkeypatch.setattr(submit.sys.stderr, "isatty", lambda: True, raising=False)

            def ask() -> str:
                if answer == "^C":
                    raise KeyboardInterrupt
                return answer

            monkeypatch.setattr("builtins.input", ask)
        return cluster

    return serving


def test_ctrl_c_without_a_terminal_leaves_the_job_and_says_how_to_come_back(
    serve: Callable[..., Cluster], capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = serve(interrupt_after=2)
    assert submit.run(None, "r1-zero-tiny", [], "http://x") == submit.DETACHED
    assert cluster.stopped == []
    printed = capsys.readouterr().err.strip()
    assert printed == (
        "job job-1 goes on; follow it: grpo submit --attach job-1 --address http://x · stop it: "
        "grpo submit --stop job-1 --address http://x"
    )
    assert "interrupted" not in printed


@pytest.mark.parametrize(
    ("answer", "code", "stopped"),
    [("", 3, []), ("d", 3, []), ("s", 0, ["job-1"]), (" Stop", 0, ["job-1"]), ("^C", 3, [])],
)
def test_ctrl_c_on_a_terminal_asks(
    serve: Callable[..., Cluster], answer: str, code: int, stopped: list[str]
) -> None:
    cluster = serve(interrupt_after=2, answer=answer)
    assert submit.run(None, "r1-zero-tiny", [], "http://x") == code
    assert cluster.stopped == stopped


def test_attach_prints_the_whole_log_and_returns_the_jobs_code(
    serve: Callable[..., Cluster], capsys: pytest.CaptureFixture[str]
) -> None:
    serve(ends_as=JobStatus.FAILED, code=7)
    assert submit.attach("job-1", "http://x") == 7
    printed = capsys.readouterr()
    assert printed.out == "line\n" * 5
    assert "job job-1 failed: why" in printed.err


def test_stop_ends_a_running_job_and_only_reports_an_ended_one(
    serve: Callable[..., Cluster], capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = serve()
    assert submit.stop("job-1", "http://x") == 0
    assert cluster.stopped == ["job-1"]
    assert submit.stop("job-1", "http://x") == 0
    assert cluster.stopped == ["job-1"], "asked twice"
    assert "ended already: stopped" in capsys.readouterr().out


@pytest.mark.parametrize("what", [submit.attach, submit.stop])
def test_an_unknown_job_lists_those_that_there_are(serve: Callable[..., Cluster], what: Any) -> None:
    serve()
    with pytest.raises(RunError, match="no job job-9 on http://x; jobs there: job-1"):
        what("job-9", "http://x")


def test_a_server_that_goes_away_is_no_failure_of_the_job(
    serve: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = serve()

    def gone(job: str) -> str:
        raise ConnectionError("refused")

    monkeypatch.setattr(cluster, "get_job_logs", gone)
    with pytest.raises(
        RunError, match=r"lost the job server \(refused\); job job-1 may go on: grpo submit --attach"
    ):
        submit.run(None, "r1-zero-tiny", [], "http://x")


def test_the_job_gets_variables_and_files_and_time_for_its_checkpoint(
    serve: Callable[..., Cluster],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "mine.toml").write_text('stage = "rl"\nrun_dir = "/shared/x"\n')
    monkeypatch.chdir(tmp_path)
    cluster = serve()
    env = runtime_env(["TOKEN=secret"], tmp_path)
    assert submit.run(None, str(tmp_path / "mine.toml"), ["seed=2"], "http://x", env) == 0
    ((entrypoint, sent),) = cluster.submitted
    assert sent["env_vars"] == {"TOKEN": "secret", "RAY_JOB_STOP_WAIT_TIME_S": str(submit.STOP_WAIT_S)}
    assert sent["working_dir"] == str(tmp_path)
    assert ".venv" in sent["excludes"]
    assert entrypoint.endswith("grpo.cli rl mine.toml --address auto --set seed=2"), (
        "the copy's recipe is meant"
    )
    assert not entrypoint.startswith("cd ")
    printed = capsys.readouterr().out
    assert "secret" not in printed
    assert f"variables TOKEN; files of {tmp_path}" in printed


def test_without_a_working_directory_the_job_runs_where_the_command_does(
    serve: Callable[..., Cluster],
) -> None:
    cluster = serve()
    submit.run(None, "r1-zero-tiny", [], "http://x")
    assert cluster.submitted[0][0].startswith(f"cd {Path.cwd()} && exec ")


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ('stage = "rl"\nrun_dir = "runs/x"\n', []),
        ('stage = "rl"\nrun_dir = "/a"\n', ["run_dir=runs/x"]),
        ('[graph]\nrun_dir = "runs/x"\n', []),
    ],
)
def test_output_that_the_copy_would_take_along_is_refused(
    serve: Callable[..., Cluster], tmp_path: Path, text: str, overrides: list[str]
) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(text)
    cluster = serve()
    with pytest.raises(ConfigError, match=r"run_dir = 'runs/x' would be written into the job's copy"):
        submit.run(None, str(recipe), overrides, "http://x", runtime_env([], tmp_path))
    assert not cluster.submitted
