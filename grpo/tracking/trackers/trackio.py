"""Trackio, Hugging Face's local-first tracker. Its own variables say where: TRACKIO_DIR (default: in the hub's cache),
TRACKIO_SPACE_ID, TRACKIO_SERVER_URL; and TRACKIO_PROJECT names the project. `trackio show` opens it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

from grpo.tracking.trackers.tracker import PROJECT, Status, TrackedRun
from policies.json_types import JsonDict


class TrackioTracker:
    """A run in a Trackio project."""

    def __init__(self, run: TrackedRun) -> None:
        """Open the run.

        Raises:
            Exception: the space or server cannot be reached.
        """
        import trackio

        project = run.state.get("project") or os.environ.get("TRACKIO_PROJECT") or PROJECT
        # Trackio finds a run by its name, and folders of two runs may have the same.
        name = run.state.get("name") or f"{run.name}-{secrets.token_hex(3)}"
        self._run = trackio.init(project=project, name=name, config=run.config, resume="allow", embed=False)
        self.state: JsonDict = {"project": project, "name": name}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add values to a step."""
        self._run.log(dict(values), step=step)

    def close(self, status: Status) -> None:
        """Write what is left; Trackio's runs have no status."""
        self._run.finish()
