"""Weights & Biases. Its own variables say where: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline, WANDB_BASE_URL.

Offline, the run lies in run_dir/wandb; `wandb sync` sends it later. A resumed offline run is a second folder with the
same id, which `wandb sync` joins to the first.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

from grpo.tracking.trackers.tracker import PROJECT, Status, TrackedRun
from policies.json_types import JsonDict


class WandbTracker:
    """A run at Weights & Biases."""

    def __init__(self, run: TrackedRun) -> None:
        """Open the run.

        Raises:
            wandb.Error: not logged in, or the server does not answer.
        """
        import wandb

        project = run.state.get("project") or os.environ.get("WANDB_PROJECT") or PROJECT
        self._run = wandb.init(
            id=run.state.get("id") or secrets.token_hex(4),
            project=project,
            entity=run.state.get("entity"),
            name=os.environ.get("WANDB_NAME") or run.name,
            dir=run.run_dir,
            resume="allow",
            settings=wandb.Settings(console="off"),
        )
        # Not by `init`: there a key that has changed since the run began is an error.
        self._run.config.update(run.config, allow_val_change=True)
        self.state: JsonDict = {
            "id": self._run.id,
            "project": project,
            "entity": self._run.entity or None,
            "url": self._run.url,
        }

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add values to a step; W&B joins what comes for the same step."""
        self._run.log(dict(values), step=step)

    def close(self, status: Status) -> None:
        """Upload what is left; a run that did not finish is marked as failed."""
        self._run.finish(exit_code=0 if status == "finished" else 1)
