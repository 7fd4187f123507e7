"""A folder that is not the same on every node is noticed before the ranks load anything."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from grpo.cluster.shared_folder import marked, why_absent


def test_the_folder_itself_is_accepted_and_left_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "new"
    with marked(folder) as marker:
        assert why_absent(marker, 0.0) is None
    assert list(folder.iterdir()) == []


def test_another_folder_at_the_same_path_is_not(tmp_path: Path) -> None:
    with marked(tmp_path / "a") as marker:
        (tmp_path / "b").mkdir()
        elsewhere = replace(marker, path=tmp_path / "b" / marker.path.name)
        assert "has another folder there" in (why_absent(elsewhere, 0.0) or "")
        shutil.copy(marker.path, elsewhere.path)
        assert why_absent(elsewhere, 0.0) is None
        assert "has another folder there" in (why_absent(replace(elsewhere, text="old"), 0.0) or "")


def test_a_folder_that_is_absent_is_not(tmp_path: Path) -> None:
    with marked(tmp_path / "a") as marker:
        absent = replace(marker, path=tmp_path / "c" / marker.path.name)
        assert "has no such folder" in (why_absent(absent, 0.0) or "")
