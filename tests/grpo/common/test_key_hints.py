"""A key in the wrong section, or by the name that TRL or verl has for it, is answered with the right one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from grpo.common.config_io import check, load_config
from grpo.common.errors import ConfigError
from grpo.common.key_hints import FOREIGN, MOST_PLACES, fields_at, hint, model_in
from grpo.config.rl import RlConfig
from grpo.stages.registry import STAGES

CONFIGS = [STAGES[name].config for name in STAGES]
GUIDE = (Path(__file__).parents[3] / "docs" / "migration.md").read_text(encoding="utf-8")


def keys_of(kind: Any, section: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all keys that are in no list and no table of sections."""
    for name, field in kind.model_fields.items():
        yield (*section, name)
        inner = model_in(field.annotation)
        if inner is not None and not re.match(r"(tuple|dict)\[", str(field.annotation)):
            yield from keys_of(inner, (*section, name))


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_a_key_in_any_wrong_section_is_answered_with_its_own(kind: type[BaseModel]) -> None:
    """A line of TOML that stands below the wrong header, for all keys that stand in few sections."""
    paths = list(keys_of(kind))
    sections = [path for path in paths if fields_at(kind, path)]
    tried = 0
    for path in paths:
        places = [".".join(other) for other in paths if other[-1] == path[-1]]
        if len(places) > MOST_PLACES:
            continue
        for section in [(), *sections]:
            if path[-1] not in fields_at(kind, section):
                tried += 1
                assert ".".join(path) in hint(kind, [*section, path[-1]])
    assert tried or not sections


def test_the_message_has_file_line_and_the_right_key(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('stage = "rl"\nlr = 1e-5\n[sampling]\nmax_completion_length = 64\ntemprature = 1\n')
    with pytest.raises(ConfigError) as error:
        load_config(RlConfig, str(recipe))
    message = str(error.value)
    assert f"{recipe}, line 2: unknown key lr = 1e-05 (did you mean optimizer.lr?)" in message
    assert "line 4: unknown key sampling.max_completion_length = 64 (sampling.max_tokens here)" in message
    assert "line 5: unknown key sampling.temprature = 1 (did you mean sampling.temperature?)" in message


@pytest.mark.parametrize(("theirs", "ours"), FOREIGN.items())
def test_a_name_of_trl_or_verl_is_answered_with_ours(theirs: str, ours: str) -> None:
    """Wherever it is written, in every recipe that has our key, and as the migration guide says."""
    section, _, key = ours.rpartition(".")
    having = [kind for kind in CONFIGS if key in fields_at(kind, section.split(".") if section else [])]
    assert having
    for kind in having:
        assert theirs not in fields_at(kind, [])
        for tree in ({theirs: 1}, {section.partition(".")[0]: {theirs: 1}} if section else {theirs: 1}):
            with pytest.raises(ConfigError, match=rf"unknown key \S*{theirs} = 1 \({re.escape(ours)} here\)"):
                check(kind, tree, "r.toml")
    row = next((line for line in GUIDE.splitlines() if re.search(rf"`[^`]*\b{theirs}\b[^`]*`", line)), "")
    assert f"`{ours}" in row, f"docs/migration.md does not say that {theirs} is {ours}"
