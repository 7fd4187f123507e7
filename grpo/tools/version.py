"""`grpo --version`: the installed version, and the commit of a checkout."""

from __future__ import annotations

import importlib.metadata

from grpo.tracking.run_dir import git_commit

DISTRIBUTION = "r1-workbench"
"""The name under which the package is installed."""


def version() -> str:
    """Return e.g. "0.2.0", in a checkout "0.2.0, commit 3fad1c2…", with "+changes" if its files differ from it."""
    try:
        installed = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        installed = "not installed"
    commit = git_commit()
    return installed if commit is None else f"{installed}, commit {commit}"
