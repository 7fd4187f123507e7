"""A run directory: one driver, one config, atomic files."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from grpo.common.errors import BrokenRun, ConfigError, text_of
from grpo.config.sections import OptimizerConfig
from grpo.tracking.changes import allow_changes
from grpo.tracking.run_dir import (
    check_or_write_manifest,
    facts,
    hash_columns,
    hash_prompts,
    open_run,
)
from policies.files import write_atomic
from rollout.types import Prompt


def test_second_driver_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", OptimizerConfig()) as resumed:
        assert not resumed
        with pytest.raises(BrokenRun, match="another driver"), open_run(tmp_path / "run", OptimizerConfig()):
            pass
    with open_run(tmp_path / "run", OptimizerConfig()) as resumed:
        assert resumed


def test_another_config_names_the_keys(tmp_path: Path) -> None:
    with open_run(tmp_path, OptimizerConfig(lr=1e-3)):
        (tmp_path / "policy").touch()
    with (
        pytest.raises(ConfigError, match=r"lr: 0.001 there, 0.002 now"),
        open_run(tmp_path, OptimizerConfig(lr=2e-3)),
    ):
        pass


def test_a_run_that_ended_at_its_inputs_does_not_hold_the_directory(tmp_path: Path) -> None:
    for lr in (1e-3, 2e-3, 2e-3):
        with open_run(tmp_path, OptimizerConfig(lr=lr)):
            pass
        assert json.loads((tmp_path / "config.json").read_text())["lr"] == lr


def test_a_key_added_since_counts_as_its_default(tmp_path: Path) -> None:
    with open_run(tmp_path, OptimizerConfig()):
        pass
    old = json.loads((tmp_path / "config.json").read_text())
    del old["warmup_steps"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    (tmp_path / "policy").touch()
    with open_run(tmp_path, OptimizerConfig()) as resumed:
        assert resumed
    with (
        pytest.raises(ConfigError, match="warmup_steps: 0 there, 3 now"),
        open_run(tmp_path, OptimizerConfig(warmup_steps=3)),
    ):
        pass


def test_broken_config_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BrokenRun, match=r"config\.json is not JSON"), open_run(tmp_path, OptimizerConfig()):
        pass


def test_atomic_write_leaves_no_litter_when_it_fails(tmp_path: Path) -> None:
    target = tmp_path / "summary.json"
    write_atomic(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(target, "\ud800")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_an_atomic_write_that_cannot_begin_names_the_file_and_not_its_temporary_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        write_atomic(tmp_path / "none/summary.json", "new")
    assert error.value.filename == str(tmp_path / "none/summary.json")


@pytest.mark.parametrize("name", ["taken", "taken/below"])
def test_a_run_dir_that_can_be_no_folder_is_refused_with_what_to_set(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken").write_text("a file")
    said = rf"{tmp_path / name}: no folder can be made and written there \(.*\); choose another run_dir"
    with pytest.raises(BrokenRun, match=said), open_run(tmp_path / name, OptimizerConfig()):
        pass


def test_an_error_of_the_system_says_first_what_it_is_about() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "runs/x/metrics.jsonl")
    assert (
        text_of(full)
        == "runs/x/metrics.jsonl: no space left on device; free some space, or choose another place"
    )
    assert text_of(OSError("stdout is closed")) == "stdout is closed"
    assert text_of(ValueError("as it is")) == "as it is"


def test_facts_hold_versions_and_hashes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    found = facts(OptimizerConfig(), 3, {"train": "ab"}, tmp_path)
    assert found["versions"]["torch"]
    assert found["model"]["files"]["config.json"] == "44136fa355b3678a"
    json.dumps(found)


def test_a_run_that_goes_on_has_the_data_the_policy_and_the_code_that_it_began_with(tmp_path: Path) -> None:
    config = OptimizerConfig()
    begun: dict[str, Any] = {"data": {"prompts": "x"}, "model": {"files": {"a": "1"}}, "code": {"r": "1"}}
    with open_run(tmp_path, config):
        check_or_write_manifest(tmp_path, config, begun, step=0)
    (tmp_path / "policy").touch()
    check_or_write_manifest(tmp_path, config, begun, step=0)
    for changed, message in (
        ({"data": {"prompts": "y"}}, r"the data is not what the run began with \(prompts\)"),
        ({"data": {"prompts": "x", "eval": "y"}}, r"the data is not what the run began with \(eval\)"),
        ({"data": {}}, r"the data is not what the run began with \(prompts\)"),
        ({"model": {"files": {"a": "2"}}}, r"the policy is not what the run began with \(a\)"),
        ({"model": {"files": {"a": "1", "b": "1"}}}, r"the policy is not .* \(b\)"),
        ({"code": {"r": "2"}}, r"the code is not what the run began with \(r\)"),
    ):
        with pytest.raises(BrokenRun, match=message):
            check_or_write_manifest(tmp_path, config, begun | changed, step=0)
        with allow_changes(True):
            check_or_write_manifest(tmp_path, config, begun | changed, step=7)
        check_or_write_manifest(tmp_path, config, begun | changed, step=7)
        recorded = json.loads((tmp_path / "manifest.json").read_text())["changes"][-1]
        assert (recorded["step"], recorded["kind"]) == (7, "identity")
        with allow_changes(True):
            check_or_write_manifest(tmp_path, config, begun, step=7)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(BrokenRun, match=r"manifest.json is damaged .*delete .* to start over"):
        check_or_write_manifest(tmp_path, config, begun, step=0)


def test_what_rewards_read_beside_a_prompt_has_a_hash_of_its_own() -> None:
    one, other = (Prompt("p", "text", (1,), "7", {"tests": tests}, "src", "") for tests in ("a", "b"))
    assert hash_prompts([one]) == hash_prompts([other])
    assert hash_columns([one]) != hash_columns([other])
