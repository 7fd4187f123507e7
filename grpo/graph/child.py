"""The process of one stage: `python -m grpo.graph.child FOLDER [ADDRESS]` runs the config in FOLDER/node.json.

It ends when the graph's own process ends. Its exit codes are the command's (`grpo --help`).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from grpo.common import stopping
from grpo.graph.state import FILE
from grpo.stages.registry import STAGES

_PR_SET_PDEATHSIG = 1


def main(folder: str, address: str | None = None) -> int:
    """Run the stage; returns the exit code."""
    _end_with_parent()
    stopping.listen(second_ends=False)
    config = json.loads((Path(folder) / FILE).read_text(encoding="utf-8"))["config"]
    stage = STAGES[config["stage"]]
    checked = stage.config.model_validate_json(json.dumps(config), strict=True)
    try:
        stage.run(checked, address)
    except KeyboardInterrupt:
        print(stopping.last_line(), file=sys.stderr)
        return stopping.exit_code()
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("GRPO_TRACEBACK"):
            raise
        print(f"error {error}", file=sys.stderr)
        return 1
    return 0


def _end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies: two graphs must never work in one folder."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
