"""Every key of every config class says whether it may change when a run is resumed."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from pydantic import Field

import data_recipes
import grpo.config
import grpo.graph
import rewards
import rollout
from grpo.config.kinds import check_kinds, keys_of, kind_of
from grpo.config.pretrain import PretrainConfig
from grpo.config.rl import RlConfig
from grpo.config.sft import SftConfig
from grpo.graph.config import GraphRecipe
from grpo.stages.registry import STAGES
from policies.json_types import JsonDict
from policies.settings import Identity, KeyKind, Operational, Settings


class Part(Settings):
    size: Identity[int] = 1
    threads: Operational[int | None] = Field(None, ge=1)


class Whole(Settings):
    one: Part = Part()
    maybe: Part | None = None
    many: tuple[Part, ...] = ()
    named: dict[str, Part] = Field(default_factory=dict)
    open: Operational[JsonDict] = Field(default_factory=dict)


def config_classes() -> Iterator[type[Settings]]:
    """All that the config modules of the product define."""
    for package in (data_recipes, grpo.config, grpo.graph, rewards, rollout):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if package is grpo.config or module.name.endswith((".config", ".settings", ".procedural")):
                importlib.import_module(module.name)
    waiting = list(Settings.__subclasses__())
    while waiting:
        found = waiting.pop()
        waiting += found.__subclasses__()
        if not found.__module__.startswith("tests."):
            yield found


def test_every_key_of_the_product_has_a_kind() -> None:
    classes = list(config_classes())
    assert {RlConfig, PretrainConfig, GraphRecipe} < set(classes)
    for found in classes:
        check_kinds(found)


def test_a_key_without_a_kind_is_found_wherever_it_stands() -> None:
    class Bare(Settings):
        size: int = 1

    class Outer(Settings):
        parts: tuple[Bare, ...] = ()

    with pytest.raises(ValueError, match=r"Bare\.size has no kind; write size: Identity"):
        check_kinds(Outer)


@pytest.mark.parametrize("name", list(STAGES))
def test_a_stage_can_be_asked_for_the_kind_of_each_key(name: str) -> None:
    config = STAGES[name].config
    for key in keys_of(config):
        assert kind_of(config, key.path) is key.kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("one.threads", KeyKind.OPERATIONAL),
        ("one.size", KeyKind.IDENTITY),
        ("maybe.threads", KeyKind.OPERATIONAL),
        ("many.3.threads", KeyKind.OPERATIONAL),
        ("many.0.size", KeyKind.IDENTITY),
        ("named.anything.threads", KeyKind.OPERATIONAL),
        ("open.whatever.it.holds", KeyKind.OPERATIONAL),
        ("many", KeyKind.IDENTITY),
        ("maybe", KeyKind.IDENTITY),
    ],
)
def test_the_kind_is_found_through_sections_lists_and_tables(path: str, kind: KeyKind) -> None:
    assert kind_of(Whole, path) is kind


def test_an_unknown_key_has_no_kind() -> None:
    with pytest.raises(KeyError):
        kind_of(Whole, "one.colour")


def test_paths_show_lists_and_tables_by_a_star() -> None:
    assert [key.path for key in keys_of(Whole)] == [
        "one.size", "one.threads", "maybe.size", "maybe.threads", "many.*.size", "many.*.threads",
        "named.*.size", "named.*.threads", "open",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "steps", "run_dir", "token_budget", "reward_workers", "learner.threads", "learner.ranks",
        "learner.tokens_per_micro_batch", "learner.recompute", "checkpoint.keep", "guards.max_truncated", "guards",
        "engine.workers", "engine.chunk_timeout_s", "engine.kv_cache_gib", "rewards.1.timeout_s", "audit.verifier",
    ],
)  # fmt: skip
def test_what_a_user_changes_between_starts_is_operational(path: str) -> None:
    assert kind_of(RlConfig, path) is KeyKind.OPERATIONAL


@pytest.mark.parametrize(
    "path",
    [
        "seed", "policy.model", "data.source", "data.params.count", "rewards.0.weight", "rewards.0.params.max_tokens",
        "optimizer.lr", "algorithm.group_size", "sampling.max_tokens", "engine.dtype", "engine.chunk_groups", "mix",
    ],
)  # fmt: skip
def test_what_a_run_learns_from_is_identity(path: str) -> None:
    assert kind_of(RlConfig, path) is KeyKind.IDENTITY


def test_a_supervised_run_may_be_made_longer_but_keeps_its_batches() -> None:
    assert kind_of(SftConfig, "epochs") is KeyKind.OPERATIONAL
    assert kind_of(SftConfig, "batch_size") is KeyKind.IDENTITY
