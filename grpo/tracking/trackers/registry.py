"""The trackers by name. `trackers = ["wandb"]` in a recipe chooses them; another package's is "module:Class"."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grpo.common.errors import ConfigError
from grpo.tracking.trackers.tracker import TrackedRun, Tracker

TENSORBOARD = "tensorboard"
"""Its event file is written by the run itself: a file cannot hang."""


@dataclass(frozen=True)
class TrackerSpec:
    """Where a tracker is, and what it needs."""

    target: str
    """"module:Class"."""
    library: str
    """The package that it imports."""
    extra: str
    """This project's extra that installs it."""


TRACKERS = {
    "wandb": TrackerSpec("grpo.tracking.trackers.wandb:WandbTracker", "wandb", "wandb"),
    "mlflow": TrackerSpec("grpo.tracking.trackers.mlflow:MlflowTracker", "mlflow", "mlflow"),
    "trackio": TrackerSpec("grpo.tracking.trackers.trackio:TrackioTracker", "trackio", "trackio"),
}


def check_trackers(names: Sequence[str]) -> None:
    """Check that every tracker of a recipe can be loaded: its library is installed, or a class of your own is there.

    Raises:
        ConfigError: names the tracker and what to install.
    """
    for name in names:
        spec = TRACKERS.get(name)
        if ":" in name:
            load(name)
        elif spec is not None and not is_installed(spec.library):
            raise ConfigError(
                f"trackers: {name} needs the package {spec.library}, which is not installed; "
                f"`pip install 'r1-workbench[{spec.extra}]'` or `pip install {spec.library}`, or take {name!r} out of "
                "trackers"
            )


def is_installed(library: str) -> bool:
    """Return True if a package can be imported; a folder of that name without code, as `wandb` leaves, is none."""
    spec = importlib.util.find_spec(library)
    return spec is not None and spec.origin is not None


def target(name: str) -> str:
    """Return "module:Class" of a tracker's name."""
    return TRACKERS[name].target if name in TRACKERS else name


def load(where: str) -> Callable[[TrackedRun], Tracker]:
    """Import the class that "module:Class" names.

    Raises:
        ConfigError: there is no such module or class.
    """
    module, _, name = where.partition(":")
    try:
        found: Callable[[TrackedRun], Tracker] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"trackers: {where!r} cannot be loaded: {error}") from error
    return found
