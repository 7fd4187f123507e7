"""MLflow. Its own variables say where: MLFLOW_TRACKING_URI (default: mlflow.db in the current folder),
MLFLOW_EXPERIMENT_NAME.

MLflow allows no "@" in a name: eval/pass@1 is eval/pass_at_1 there.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar  # Any: MLflow's client, from a library that need not be there

from grpo.tracking.trackers.tracker import PROJECT, Status, TrackedRun, flat
from policies.json_types import JsonDict

T = TypeVar("T")
STATUS: dict[Status, str] = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "killed": "KILLED",
}
PARAMS_PER_CALL, METRICS_PER_CALL, MAX_PARAM = 100, 1000, 6000
"""MLflow's limits: parameters and metrics of one call, characters of a parameter."""


class MlflowTracker:
    """A run in an MLflow store."""

    def __init__(self, run: TrackedRun) -> None:
        """Open the run.

        Raises:
            MlflowException: the store cannot be reached or is of a kind that the installed MLflow lacks.
        """
        import mlflow
        from mlflow import MlflowClient

        uri = run.state.get("tracking_uri") or mlflow.get_tracking_uri()
        self._client: Any = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if "run_id" in run.state:
            self._run_id: str = run.state["run_id"]
            self._client.update_run(self._run_id, status="RUNNING")
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
            created = self._client.create_run(experiment_id(self._client, name), run_name=run.name)
            self._run_id = created.info.run_id
            self._log_params(run.config)
        self.state: JsonDict = {"run_id": self._run_id, "tracking_uri": uri}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add values to a step."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        metrics = (Metric(metric_name(name), value, now, step) for name, value in values.items())
        for some in batches(metrics, METRICS_PER_CALL):
            self._client.log_batch(self._run_id, metrics=some)

    def close(self, status: Status) -> None:
        """Mark the run as ended."""
        self._client.set_terminated(self._run_id, STATUS[status])

    def _log_params(self, config: JsonDict) -> None:
        from mlflow.entities import Param

        params = (
            Param(metric_name(key), str(value)[:MAX_PARAM])
            for key, value in flat(config).items()
            if value is not None
        )
        for some in batches(params, PARAMS_PER_CALL):
            self._client.log_batch(self._run_id, params=some)


def experiment_id(client: Any, name: str) -> str:
    """Return the id of the experiment of this name, which is made if it is not there."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            made: str = client.create_experiment(name)
            return made
        except MlflowException:  # made by another run in between
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    known: str = found.experiment_id
    return known


def metric_name(name: str) -> str:
    """Return the name with what MLflow refuses replaced: "@" by "_at_", anything else by "_"."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"), flags=re.ASCII)


def batches(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """Yield lists of at most `size` items."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
