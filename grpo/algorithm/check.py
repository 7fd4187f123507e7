"""The check, before a run starts, of the functions that its recipe names from outside.

It runs in a process of its own, for a trial of a loss needs torch, and the driver of a run lives without; and nothing
that a function's module does at import can stay behind in the driver.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from grpo.algorithm.registry import describe_key, own_functions
from grpo.common.errors import ConfigError
from grpo.config.algorithm import AlgorithmConfig

TIMEOUT_S = 300
BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from grpo.algorithm.check import child; child()"
)


def check_functions(config: AlgorithmConfig) -> None:
    """Load and try the functions of the user's that a recipe names; nothing happens for a recipe without.

    Raises:
        ConfigError: one of them breaks its contract (docs/algorithm.md); names each key, what was found and what to
            change.
    """
    keys = own_functions(config)
    if not keys:
        return
    names = ", ".join(describe_key(key, getattr(config, key)) for key in keys)
    try:
        done = subprocess.run(
            [sys.executable, "-c", BOOT, json.dumps(sys.path)],
            input=config.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{names}: no answer within {TIMEOUT_S} s from a trial call") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing printed"])[-1]
        raise ConfigError(f"{names}: the trial call ended its process (exit {done.returncode}): {last}")
    if found := json.loads(done.stdout):
        raise ConfigError("\n".join(found))


def child() -> None:
    """Read a config from stdin, try its functions, write the problems to stdout as a JSON list."""
    from grpo.algorithm.probe import problems

    config = AlgorithmConfig.model_validate_json(sys.stdin.read())
    with os.fdopen(os.dup(1), "w") as results:
        os.dup2(2, 1)  # what a function prints is not the result
        results.write(json.dumps(problems(config)))
