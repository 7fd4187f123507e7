"""A scripted server, and a config that asks it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rewards.llm.config import LlmConfig
from tests.scripted_llm import MODEL, Script, scripted_server


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_server() as script:
        yield script


@pytest.fixture
def config(script: Script, tmp_path: Path) -> LlmConfig:
    return LlmConfig(url=script.url, model=MODEL, cache=tmp_path / "llm", deadline_s=120.0)
