"""The language models of a stage: which servers are started, once each, and what the stage then asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from grpo.common import served as served_module
from grpo.common.errors import ConfigError
from grpo.common.served import served, served_name
from grpo.config.pairs import PairsConfig
from grpo.config.sample import SampleConfig
from rewards.llm.config import LlmConfig
from tests.scripted_llm import Script, scripted_server


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    folder = tmp_path / "my-run" / "policy"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"architectures": ["Any"]}')
    (folder / "weights").write_text("1 2 3")
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Path, list[str]]]]:
    """Serve nothing, but offer the name that was asked for; returns folder and options of each start."""
    starts: list[tuple[Path, list[str]]] = []
    with scripted_server() as script:

        @contextmanager
        def own_server(folder: Path, options: Sequence[str]) -> Iterator[str]:
            starts.append((folder, list(options)))
            script.models = [*script.models, options[1]]
            yield script.url
            starts.append((folder, ["stopped"]))

        monkeypatch.setattr(served_module, "own_server", own_server)
        yield starts


def sample(llms: list[dict[str, Any] | None]) -> SampleConfig:
    rewards = [{"name": "format"} if llm is None else {"name": "judge_safety", "llm": llm} for llm in llms]
    return SampleConfig.model_validate(
        {"run_dir": "r", "policy": {"model": "m"}, "data": {"source": "d.jsonl"}, "rewards": rewards}
    )


def test_a_policy_is_served_once_under_a_name_of_its_content(
    policy: Path, started: list[tuple[Path, list[str]]], tmp_path: Path
) -> None:
    own = {"policy": str(policy.parent), "cache": "llm", "serve": ["--threads", "1"]}
    config = sample([own, None, own])
    name = served_name(policy)
    assert name.startswith("my-run-")
    with served(config) as ready:
        assert started == [(policy, ["--name", name, "--threads", "1"])]
        first, none, second = (reward.llm for reward in ready.rewards)
        assert none is None
        assert first == second
        assert first is not None
        assert (first.policy, first.model, first.cache) == (None, name, Path("llm").absolute())
        assert first.url is not None
        LlmConfig.model_validate(first.model_dump())
    assert started[1:] == [(policy, ["stopped"])]
    assert config.rewards[0].llm is not None
    assert config.rewards[0].llm.policy == str(policy.parent)
    (policy / "weights").write_text("1 2 4")
    assert served_name(policy) != name


def test_the_judge_of_pairs_is_found_too(policy: Path, started: list[Any], tmp_path: Path) -> None:
    judge = {"name": "pairwise", "compares": True, "llm": {"policy": str(policy), "cache": "c"}}
    config = PairsConfig.model_validate({"source": "a.jsonl", "out": "b.parquet", "judge": judge})
    with served(config) as ready:
        assert ready.judge.llm is not None
        assert ready.judge.llm.url is not None
    assert len(started) == 2


def test_a_stage_without_models_is_left_alone(started: list[Any]) -> None:
    config = sample([None])
    with served(config) as ready:
        assert ready is config
    assert started == []


def test_one_policy_in_two_ways_is_refused(policy: Path, started: list[Any]) -> None:
    ways = [{"policy": str(policy), "cache": "c", "serve": ["--threads", n]} for n in "12"]
    with pytest.raises(ConfigError, match=r"two different llm\.serve"), served(sample(ways)):
        pass
    assert started == []


def test_every_server_is_asked_before_anything_else_starts(script: Script, tmp_path: Path) -> None:
    good = {"url": script.url, "cache": str(tmp_path)}
    with served(sample([good])):
        pass
    for bad in (good | {"model": "other"}, good | {"url": "http://127.0.0.1:9/v1"}):
        with pytest.raises(ConfigError, match="llm: http"), served(sample([good, bad])):
            pytest.fail("the block ran")


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_server() as script:
        yield script
