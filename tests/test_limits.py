"""README's "What it cannot do yet" names what is missing; what comes to be is taken from the list by a test that fails.

Each bullet of the section has a check that holds as long as the limit does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from grpo.config.rl import RlConfig
from grpo.config.sections import SamplingConfig
from policies.families.registry import FAMILIES, PRESETS
from tests.test_docs import ROOT


def bullets() -> list[str]:
    """The bold words that open each bullet of the section."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## What it cannot do yet\n")[2]
    return re.findall(r"^- \*\*(.+?)\.\*\*", section.partition("\n## ")[0], re.MULTILINE)


def machines() -> Iterator[dict[str, Any]]:
    """The machine of every result file."""
    for path in sorted((ROOT / "benchmarks/results").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and isinstance(content.get("machine"), dict):
            yield content["machine"]


def no_gpu_results() -> bool:
    """No result file describes a machine with a GPU."""
    found = list(machines())
    assert len(found) > 10
    return not [
        m for m in found if any("gpu" in str(k).lower() or "cuda" in str(v).lower() for k, v in m.items())
    ]


def no_overlap() -> bool:
    """No key of a run asks for samples of an older policy."""
    names = {*RlConfig.model_fields, *RlConfig.model_fields["engine"].annotation.model_fields}  # type: ignore[union-attr]
    return not [name for name in names if "async" in name or "in_flight" in name or "lag" in name]


def no_tools() -> bool:
    """No key of a run asks for tools, images or turns; a row's tools are text of its prompt."""
    names = {*RlConfig.model_fields, *SamplingConfig.model_fields}
    return not [
        name for name in names if any(word in name for word in ("tool", "image", "turn", "environment"))
    ]


def no_released_checkpoints() -> bool:
    """VL2's architecture is not there, and no result file is about a released DeepSeek policy."""
    results = [path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks/results").glob("*.json")]
    return not any("vl" in name.lower() for name in (*FAMILIES, *PRESETS)) and not any(
        "deepseek-ai/" in text for text in results
    )


LIMITS: dict[str, Callable[[], bool]] = {
    "Show GPU results": no_gpu_results,
    "Overlap sampling and training": no_overlap,
    "Train with tools, images, or several turns in RL": no_tools,
    "Run DeepSeek's released checkpoints": no_released_checkpoints,
}


def test_every_bullet_has_its_check() -> None:
    assert bullets() == list(LIMITS)


@pytest.mark.parametrize("limit", list(LIMITS))
def test_the_limit_still_holds(limit: str) -> None:
    """If this fails, the limit is gone: take its bullet out of the README."""
    assert LIMITS[limit]()
