"""What a run accepts when it is resumed: every key by its kind, content and not spelling, and a longer run."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from grpo.common.config_io import dump
from grpo.common.errors import BrokenRun, ConfigError
from grpo.config.kinds import keys_of
from grpo.config.rl import RlConfig
from grpo.stages.registry import STAGES
from grpo.tracking.changes import allow_changes, find_changes
from grpo.tracking.run_dir import check_or_write_manifest, facts, open_run, refuse_less
from grpo.tracking.run_once import Summary, run_once
from policies import clock
from policies.settings import KeyKind, KeyMark
from tests.grpo.rl.scripted import make_config

CONTENT: dict[str, Any] = {"data": {"train": "1"}, "model": {"files": {"a": "1"}}, "code": {}}


def config_of(run_dir: Path, **settings: Any) -> RlConfig:
    return make_config({"steps": 20, "run_dir": run_dir, **settings})


def begin(run_dir: Path, config: RlConfig, finished: bool = False) -> None:
    """Leave what a run has after its tenth update."""
    with open_run(run_dir, config):
        check_or_write_manifest(run_dir, config, CONTENT, step=0)
    (run_dir / "metrics.jsonl").write_text('{"step": 10}\n')
    (run_dir / "checkpoints" / "step-000010").mkdir(parents=True)
    if finished:
        (run_dir / "summary.json").write_text('{"steps": 10}')


def resume(run_dir: Path, config: RlConfig, now: dict[str, Any] | None = None) -> None:
    with open_run(run_dir, config) as resumed:
        assert resumed
        check_or_write_manifest(run_dir, config, now or CONTENT, step=10)


def recorded(run_dir: Path) -> list[tuple[Any, ...]]:
    rows = json.loads((run_dir / "manifest.json").read_text())["changes"]
    return [(row["step"], row["key"], row["old"], row["new"], row["kind"]) for row in rows]


def other(value: object) -> object:
    """A value that differs, of the same type where JSON has one."""
    if isinstance(value, bool) or value is None:
        return not value
    return value + 1 if isinstance(value, int | float) else f"{value} else"


PLAIN = [
    key
    for key in keys_of(RlConfig)
    if "*" not in key.path and key.path not in ("stage", "run_dir") and not key.path.startswith("best.")
]


@pytest.mark.parametrize("key", PLAIN, ids=lambda key: key.path)
def test_every_key_of_a_recipe_is_refused_or_recorded_by_its_kind(key: Any, tmp_path: Path) -> None:
    config = config_of(tmp_path / "run", eval={"data": {"source": "chain", "split": "held-out"}},
                       policy={"model": "none", "lora": {"rank": 2}})  # fmt: skip
    begin(tmp_path / "run", config)
    path = tmp_path / "run" / "config.json"
    tree = json.loads(path.read_text())
    section = tree
    *sections, name = key.path.split(".")
    for part in sections:
        section = section[part]
    section[name] = other(section[name])
    path.write_text(json.dumps(tree))
    is_refused = key.kind is KeyKind.IDENTITY and KeyMark.CONTENT not in key.field.metadata
    if is_refused:
        with pytest.raises(
            ConfigError, match=rf"after step 10, last checkpoint step-000010:\n  {key.path}: "
        ):
            resume(tmp_path / "run", config)
        assert json.loads(path.read_text()) == tree, "a refused call changes nothing"
    with allow_changes(is_refused):
        resume(tmp_path / "run", config)
    assert [row[:2] for row in recorded(tmp_path / "run")] == [(10, key.path)]
    assert json.loads(path.read_text()) == json.loads(dump(config))
    resume(tmp_path / "run", config)
    assert len(recorded(tmp_path / "run")) == 1


def test_a_reward_in_a_list_is_compared_key_by_key(tmp_path: Path) -> None:
    begin(tmp_path, config_of(tmp_path, rewards=({"name": "accuracy"}, {"name": "format"})))
    slower = ({"name": "accuracy"}, {"name": "format", "timeout_s": 20.0})
    resume(tmp_path, config_of(tmp_path, rewards=slower))
    assert recorded(tmp_path) == [(10, "rewards.1.timeout_s", 10.0, 20.0, "operational")]
    with pytest.raises(ConfigError, match=r"rewards.1.weight: 1.0 there, 2.0 now"):
        resume(
            tmp_path, config_of(tmp_path, rewards=({"name": "accuracy"}, {"name": "format", "weight": 2.0}))
        )
    with pytest.raises(ConfigError, match=r"rewards.0.name: 'accuracy' there, 'mcq' now"):
        resume(tmp_path, config_of(tmp_path, rewards=({"name": "mcq"}, {"name": "format"})))
    with pytest.raises(ConfigError, match=r"  rewards: "):
        resume(tmp_path, config_of(tmp_path, rewards=({"name": "accuracy"},)))


def test_another_stage_is_refused_whatever_is_allowed(tmp_path: Path) -> None:
    begin(tmp_path, config_of(tmp_path))
    other_stage = STAGES["sample"].config(
        run_dir=tmp_path, policy={"model": "none"}, data={"source": "chain"}, samples=1
    )
    with (
        allow_changes(True),
        pytest.raises(
            ConfigError, match=r"holds a run of `grpo rl`; choose another folder for `grpo sample`"
        ),
        open_run(tmp_path, other_stage),
    ):
        pass


def test_a_finished_run_is_done_unless_it_is_to_be_longer(tmp_path: Path) -> None:
    began: list[int] = []

    def call(config: RlConfig) -> Summary:
        def work() -> Summary:
            began.append(config.steps)
            refuse_less(tmp_path, "steps", config.steps, 20)
            check_or_write_manifest(tmp_path, config, CONTENT, step=20)
            assert not (tmp_path / "summary.json").exists() or len(began) == 1
            return {"steps": config.steps}

        return run_once(config, tmp_path, work, lambda _: None)

    begin(tmp_path, config_of(tmp_path))
    assert call(config_of(tmp_path))["steps"] == 20
    assert call(config_of(tmp_path, learner={"threads": 3}))["steps"] == 20
    assert began == [20]
    assert call(config_of(tmp_path, steps=30))["steps"] == 30
    assert began == [20, 30]
    assert recorded(tmp_path) == [(20, "steps", 20, 30, "operational")]
    with pytest.raises(
        ConfigError, match=r"has done 20 updates, and steps now asks for 8; raise it to 20 or more"
    ):
        call(config_of(tmp_path, steps=8))
    assert json.loads((tmp_path / "summary.json").read_text()) == {"steps": 30}
    assert call(config_of(tmp_path, steps=30)) == {"steps": 30}


def test_a_longer_run_that_is_killed_is_not_taken_for_the_finished_one(tmp_path: Path) -> None:
    begin(tmp_path, config_of(tmp_path), finished=True)
    resume(tmp_path, config_of(tmp_path, steps=30))
    done = run_once(config_of(tmp_path, steps=30), tmp_path, lambda: {"again": True}, lambda _: None)
    assert done == {"again": True}


def test_a_folder_whose_engine_never_started_takes_another_recipe(tmp_path: Path) -> None:
    first, second = config_of(tmp_path), config_of(tmp_path, seed=9)
    with pytest.raises(OSError, match="no cluster"), open_run(tmp_path, first):  # noqa: PT012
        check_or_write_manifest(tmp_path, first, CONTENT, step=0)
        (tmp_path / "metrics.jsonl").touch()
        (tmp_path / "tensorboard").mkdir()
        raise OSError("no cluster")
    with open_run(tmp_path, second) as resumed:
        assert not resumed
        check_or_write_manifest(tmp_path, second, CONTENT | {"data": {"train": "2"}}, step=0)
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 9
    assert json.loads((tmp_path / "manifest.json").read_text())["data"] == {"train": "2"}


@pytest.mark.parametrize("existing", ["", "runs", "runs/a"])
def test_failed_inputs_leave_nothing_that_was_not_there(existing: str, tmp_path: Path) -> None:
    (tmp_path / existing).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    run_dir = tmp_path / "runs" / "a"
    with pytest.raises(ConfigError), open_run(run_dir, config_of(run_dir)):
        raise ConfigError("no such file")
    assert sorted(tmp_path.rglob("*")) == before


def test_failed_inputs_take_nothing_of_others_away(tmp_path: Path) -> None:
    run_dir = tmp_path / "a"
    with pytest.raises(ConfigError), open_run(run_dir, config_of(run_dir)):  # noqa: PT012
        (run_dir / "mine.txt").touch()
        raise ConfigError("no such file")
    assert (run_dir / "mine.txt").exists()
    begin(tmp_path / "b", config_of(tmp_path / "b"))
    with pytest.raises(ConfigError), open_run(tmp_path / "b", config_of(tmp_path / "b")):
        raise ConfigError("no such file")
    assert (tmp_path / "b" / "config.json").exists()


def model(folder: Path, content: str = "{}") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(content)
    return folder


def test_the_same_model_and_code_by_another_path_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model(tmp_path / "base")
    (tmp_path / "own.py").write_text("def reward(row): return 1.0\n")

    def start(name: str, reward: str, run_dir: str = "run") -> None:
        config = config_of(Path(run_dir), policy={"model": name}, rewards=({"name": reward},))
        now = facts(config, 0, {"train": "1"}, Path(name))
        with open_run(Path(run_dir), config):
            check_or_write_manifest(Path(run_dir), config, now, step=4)

    start("base", "own.py:reward")
    (tmp_path / "run" / "policy").mkdir()
    start("base/", "./own.py:reward")
    start(str(tmp_path / "base"), str(tmp_path / "own.py:reward"), str(tmp_path / "run"))
    shutil.move("base", "moved")
    shutil.move("run", "elsewhere")
    start("moved", "own.py:reward", "elsewhere/")
    assert {row[1] for row in recorded(tmp_path / "elsewhere")} == {"policy.model", "rewards.0.name"}
    with pytest.raises(ConfigError, match=r"rewards.0.name: 'own.py:reward' there, 'own.py:other' now"):
        start("moved", "own.py:other", "elsewhere")
    (tmp_path / "own.py").write_text("def reward(row): return 2.0\n")
    with pytest.raises(
        BrokenRun, match=r"after step|before its first step: the code is not .* \(rewards.0.name\)"
    ):
        start("moved", "own.py:reward", "elsewhere")
    (tmp_path / "own.py").write_text("def reward(row): return 1.0\n")
    model(tmp_path / "changed", "[]")
    with pytest.raises(BrokenRun, match=r"the policy is not what the run began with \(config.json\)"):
        start("changed", "own.py:reward", "elsewhere")


def test_a_path_is_no_content_where_nothing_recorded_the_content(tmp_path: Path) -> None:
    with open_run(tmp_path, config_of(tmp_path)):
        (tmp_path / "rows.jsonl").touch()
    with (
        pytest.raises(ConfigError, match=r"policy.model: 'none' there, 'other' now"),
        open_run(tmp_path, config_of(tmp_path, policy={"model": "other"})),
    ):
        pass


def test_templates_see_the_moment_at_which_the_run_began(tmp_path: Path) -> None:
    from policies.chat_template import compile_template, render

    template = compile_template("{{ strftime_now('%Y-%m-%d %H:%M:%S') }}")
    config, seen = config_of(tmp_path), []

    def work() -> Summary:
        seen.append(render(template, []))
        check_or_write_manifest(tmp_path, config, facts(config, 0, {"train": seen[0]}, None), step=0)
        (tmp_path / "policy").mkdir(exist_ok=True)
        raise ConfigError("stop here")

    for _ in range(2):
        with pytest.raises(ConfigError, match="stop here"):
            run_once(config, tmp_path, work, lambda _: None)
    manifest = tmp_path / "manifest.json"
    started = datetime.fromisoformat(json.loads(manifest.read_text())["started"])
    assert seen == [started.strftime("%Y-%m-%d %H:%M:%S")] * 2
    # A run of another day goes on with the prompts of that day.
    long_ago = json.loads(manifest.read_text()) | {"started": "2024-02-29T23:59:58+14:00", "data": {}}
    manifest.write_text(json.dumps(long_ago))
    seen.clear()
    with pytest.raises(BrokenRun, match="the data"):
        run_once(config, tmp_path, work, lambda _: None)
    assert seen == ["2024-02-29 23:59:58"]
    assert abs((clock.now() - datetime.now().astimezone()).total_seconds()) < 60


def test_a_config_given_back_is_the_same_run(tmp_path: Path) -> None:
    config = config_of(
        tmp_path / "run", sampling={"stop_tokens": ("\n",)}, policy={"model": "none", "lora": None}
    )
    begin(tmp_path / "run", config)
    stage = STAGES["rl"]
    assert stage.load(str(tmp_path / "run" / "config.json")) == config
    assert stage.load(str(tmp_path / "run")) == config
    shutil.move(tmp_path / "run", tmp_path / "moved")
    moved = stage.load(str(tmp_path / "moved"), ["steps=40"])
    assert (moved.run_dir, moved.steps) == (tmp_path / "moved", 40)
    assert [change.key for change in find_changes(tmp_path / "moved", moved)] == ["steps"]


def test_what_is_no_run_says_so(tmp_path: Path) -> None:
    stage = STAGES["rl"]
    with pytest.raises(ConfigError, match=r"a folder without config\.json, so not a run"):
        stage.load(str(tmp_path))
    (tmp_path / "config.json").write_text('{"architectures": ["DeepseekV3ForCausalLM"]}')
    with pytest.raises(ConfigError, match=r"config\.json: has no key stage, so .* is not a run"):
        stage.load(str(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"config\.json: holds list"):
        stage.load(str(tmp_path / "config.json"))
    (tmp_path / "config.json").write_text('{"stage": ')
    with pytest.raises(ConfigError, match=r"config\.json: not valid JSON"):
        stage.load(str(tmp_path))
    (tmp_path / "config.json").write_text('{"stage": "sft"}')
    with pytest.raises(ConfigError, match=r"this command runs 'rl'; use `grpo sft`"):
        stage.load(str(tmp_path))


def test_a_wrong_value_in_a_runs_config_has_its_line(tmp_path: Path) -> None:
    config = config_of(tmp_path, rewards=({"name": "accuracy"}, {"name": "format"}))
    tree = json.loads(dump(config))
    tree["rewards"][1]["weight"] = "much"
    tree["optimizer"]["lr"] = -1
    text = json.dumps(tree, indent=2)
    (tmp_path / "config.json").write_text(text)
    lines = [
        n for n, line in enumerate(text.splitlines(), 1) if '"weight": "much"' in line or '"lr": -1' in line
    ]
    with pytest.raises(ConfigError) as caught:
        STAGES["rl"].load(str(tmp_path))
    for line, key in zip(lines, ("rewards.1.weight", "optimizer.lr"), strict=True):
        assert f"line {line}: {key} = " in str(caught.value)
