"""The process of one stage: `python -m grpo.graph.child FOLDER [ADDRESS] [--allow-change]`.

It runs the config in FOLDER/node.json, and ends when the graph's own process ends. Its exit codes are the
command's (`grpo --help`).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from grpo.common import stopping
from grpo.common.orphans import end_with_parent
from grpo.graph.launch import ALLOW_CHANGE
from grpo.graph.state import FILE
from grpo.stages.registry import STAGES
from grpo.tracking.changes import allow_changes


def main(folder: str, *options: str) -> int:
    """Run the stage; returns the exit code."""
    end_with_parent(os.getppid())
    stopping.listen(second_ends=False)
    config = json.loads((Path(folder) / FILE).read_text(encoding="utf-8"))["config"]
    stage = STAGES[config["stage"]]
    checked = stage.config.model_validate_json(json.dumps(config), strict=True)
    address = next((option for option in options if option != ALLOW_CHANGE), None)
    try:
        with allow_changes(ALLOW_CHANGE in options):
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


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
