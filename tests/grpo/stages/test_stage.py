"""What a stage checks of itself, how it reads recipes, and what its registry refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.common.config_io import parse_override
from grpo.common.errors import ConfigError
from grpo.stages.figures import Finished, TokenTime, look_up, number, sampled_tokens, trained_tokens
from grpo.stages.registry import BUILTINS, STAGES, Registry
from grpo.stages.stage import Option, Stage
from policies.settings import Identity, Operational, Settings


class Kindless(Settings):
    stage: Identity[Literal["own"]] = "own"
    run_dir: Operational[Path]
    size: int = 1


class OwnConfig(Settings):
    stage: Identity[Literal["own"]] = "own"
    run_dir: Operational[Path]
    size: Identity[int] = 1


def make(**changes: Any) -> Stage[OwnConfig]:
    fields: dict[str, Any] = {
        "name": "own",
        "help": "Own.",
        "example": "grpo own own.toml",
        "config": OwnConfig,
        "run": lambda config, address: {"size": config.size},
        "outputs": {"summary": "summary.json"},
        "key_figure": str,
        "main_output": "summary",
    }
    return Stage(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "other"}, r'OwnConfig: write stage: Literal\["other"\] = "other"'),
        ({"output_key": "out"}, "OwnConfig has no key out"),
        ({"config": Kindless}, "Kindless.size has no kind; write size: Identity"),
        ({"main_output": "policy"}, "stage own: outputs has no 'policy', only summary"),
        ({"outputs": {"policy": "p"}, "main_output": "policy"}, "outputs has no 'summary'"),
    ],
)
def test_a_stage_whose_parts_contradict_each_other_is_refused(changes: dict[str, Any], message: str) -> None:
    make()
    with pytest.raises(ValueError, match=message):
        make(**changes)


@given(st.text(min_size=1))
def test_an_option_is_the_set_of_its_key(text: str) -> None:
    assert parse_override(Option("--name", "a.b", str, "").override(text)) == (["a", "b"], text)


@given(st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False))
def test_an_option_keeps_numbers(value: float) -> None:
    assert parse_override(Option("--size", "size", float, "").override(value)) == (["size"], value)


def test_another_stages_recipe_is_read_without_where_it_writes(tmp_path: Path) -> None:
    recipe = tmp_path / "big.toml"
    recipe.write_text('stage = "big"\nrun_dir = "of-big"\nbigness = 7\n')
    reads = make(adapts={"big": lambda tree: {**tree, "stage": "own", "size": tree["bigness"]}})
    with pytest.raises(ConfigError, match=r"big\.toml: where to\? Add --set run_dir= FOLDER; .*`big` recipe"):
        reads.load(str(recipe))
    with pytest.raises(ConfigError, match="unknown key bigness"):
        reads.load(str(recipe), ["run_dir=x"])
    reads = make(adapts={"big": lambda tree: {"stage": "own", "size": tree["bigness"], "run_dir": "of-big"}})
    assert reads.load(str(recipe), ["run_dir=x"]) == OwnConfig(run_dir=Path("x"), size=7)
    assert reads.load(str(recipe), ["run_dir=x", "size=3"]).size == 3, "overrides are keys of this stage"
    with pytest.raises(ConfigError, match="stage = 'big', but this command runs 'own'; use `grpo big`"):
        make().load(str(recipe))


def test_keys_that_only_training_has_cannot_be_set_for_an_evaluation() -> None:
    with pytest.raises(ConfigError, match="unknown key steps"):
        STAGES["eval"].load("r1-zero-tiny", ["run_dir=x", "steps=3"])


def test_the_registry_loads_a_stage_when_it_is_asked_for() -> None:
    registry = Registry({"own": "no.such.module:STAGE", **BUILTINS})
    assert "own" in registry
    assert next(iter(registry)) == "own"
    assert len(registry) == 1 + len(BUILTINS)
    with pytest.raises(ConfigError, match=r"stage own \(no\.such\.module:STAGE\) cannot be loaded"):
        registry["own"]
    with pytest.raises(KeyError):
        registry["other"]
    own = registry["own"] = make()
    assert registry["own"] is own
    del registry["own"]
    assert registry["curate"] is STAGES["curate"], "one object of each stage"


def test_figures_are_found_by_path() -> None:
    figures = {"a": {"b": 0.12345, "c": None}, "d": 2}
    assert look_up(figures, "a.b") == 0.12345
    assert [look_up(figures, path) for path in ("a.x", "d.e", "x")] == [None, None, None]
    assert [number(figures, path, 2) for path in ("a.b", "a.c", "d")] == ["0.12", "–", "2.00"]


@given(st.lists(st.tuples(st.floats(0.1, 9), st.integers(1, 99)), max_size=5), st.integers(1, 8))
def test_time_of_trained_tokens_is_that_of_the_updates(updates: list[tuple[float, int]], size: int) -> None:
    rows = [{"time/update_s": s, "tokens/learner": n} for s, n in updates]
    found = trained_tokens(
        Finished({"batch_size": size}, {"steps": len(rows)}, [{"heldout/loss": 1.0}, *rows])
    )
    if rows:
        assert found.busy_s == pytest.approx(sum(s for s, _ in updates))
        assert (found.tokens, found.items) == (sum(n for _, n in updates), len(rows) * size)
    else:
        assert found == TokenTime()


def test_a_call_that_sampled_nothing_has_no_speed() -> None:
    summary = {"tokens": 90, "samples": 12, "tokens_per_s": None}
    assert sampled_tokens(Finished({}, summary, [])) == TokenTime()
    assert sampled_tokens(Finished({}, summary | {"tokens_per_s": 3.0}, [])) == TokenTime(30.0, 90.0, 12.0)
    with pytest.raises(KeyError):
        sampled_tokens(Finished({}, {}, []))
