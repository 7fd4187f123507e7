"""Commands that only tell something must not wait for libraries that they do not use."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("numpy", "torch", "ray", "vllm", "datasets", "transformers", "pandas", "pyarrow", "peft")
REPORT = """
import json, sys
from grpo.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("\\n" + json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["rl", "--help"],
        ["recipes"],
        ["keys"],
        ["keys", "rl", "--json-schema"],
    ],
    ids=" ".join,
)
def test_a_command_that_only_informs_loads_no_heavy_library(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *arguments], capture_output=True, text=True, timeout=120, check=True
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "typer" in loaded  # the list is that of the command
    assert not loaded.intersection(HEAVY)
