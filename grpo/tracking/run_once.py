"""The frame of every stage that has a run directory: locked, finished once, with a summary at its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel
from rich.markup import escape

from grpo.common.console import say
from grpo.tracking.changes import find_changes
from grpo.tracking.model_card import write_card
from grpo.tracking.run_dir import began, is_extended, open_run
from grpo.tracking.stopped import recording_stop
from policies import clock
from policies.files import write_atomic
from policies.json_types import JsonDict

Summary = JsonDict
"""The JSON tree of summary.json."""


def run_once(
    config: BaseModel,
    run_dir: Path,
    work: Callable[[], Summary],
    finish: Callable[[Summary], None],
    on_stop: Callable[[], object] = lambda: None,
) -> Summary:
    """Do the work of a run, unless an earlier call has finished it; returns the summary.

    A policy that the work exported gets a model card.

    Args:
        config: the stage's; its dump is the run's config.json.
        run_dir: held for this process while the work lasts.
        work: reads and checks the inputs, goes on from where an earlier call stopped, returns the summary.
        finish: called with the summary once summary.json is written; not for a run that was complete.
        on_stop: called when what ended the work early stands in stopped.json.

    Raises:
        ConfigError: the directory holds a run that began with other identity keys.
        BrokenRun: another driver is running in it.
    """
    path = run_dir / "summary.json"
    with open_run(run_dir, config) as resumed, clock.fixed(began(run_dir)):
        changes = find_changes(run_dir, config) if resumed and path.exists() else []
        if resumed and path.exists() and not is_extended(changes):
            # What is found under the names is compared when the inputs are read, which a complete run does not do.
            renamed = "; ".join(str(change) for change in changes if change.is_content)
            note = f" ({renamed}; choose another run_dir to run with that)" if renamed else ""
            say(f"{escape(str(run_dir))} is complete; nothing to do{escape(note)}")
            complete: Summary = json.loads(path.read_text(encoding="utf-8"))
            return complete
        with recording_stop(run_dir, on_stop):
            summary = work()
        write_card(run_dir, summary)
        write_atomic(path, json.dumps(summary, indent=2) + "\n")
        finish(summary)
        return summary
