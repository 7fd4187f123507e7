"""A small Ray cluster of this process, for tests that start engines."""

from __future__ import annotations

import os

import ray


def start_ray() -> None:
    """Start Ray on this machine alone: two cores, localhost, a small object store."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=128 * 2**20,
        _node_ip_address="127.0.0.1",
    )
