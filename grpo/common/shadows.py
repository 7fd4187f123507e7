"""Finds files of the user that hide a package of this toolkit: a rewards.py beside a script, a policies/ where it runs.

Python takes the first `rewards` on its path, where Ray's workers have the script's folder and the working directory
first. Without this, the error would be "No module named 'rewards.types'; 'rewards' is not a package". Standard library
only: `import grpo` runs it, before a package that may be hidden is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

PACKAGES = ("grpo", "data_recipes", "rewards", "rollout", "policies")
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""The folder that holds the packages."""


class HiddenPackage(ImportError):
    """A file of the user has the name of a package of this toolkit, and would be imported in its place."""


def refuse_shadows() -> None:
    """Check that each package of this toolkit would be imported from where this module was.

    Raises:
        HiddenPackage: names the file that hides one, and the fix.
    """
    for name in PACKAGES:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and not _same(os.path.dirname(os.path.dirname(file)), _ROOT):
            raise HiddenPackage(_message(file, name))
    before = []
    for entry in sys.path:
        if _same(entry, _ROOT):
            break
        before.append(entry)
    refuse_shadows_in(before)


def refuse_shadows_in(folders: Iterable[str]) -> None:
    """Check that nothing in these folders ("" is the working directory) hides a package of this toolkit.

    Raises:
        HiddenPackage: names what hides one, and the fix.
    """
    # A folder without __init__.py hides a package that is on no path of its own, as in an editable installation.
    plain_folders_hide = not any(_same(entry, _ROOT) for entry in sys.path)
    for folder in dict.fromkeys(_absolute(folder) for folder in folders):
        if folder is None or _same(folder, _ROOT) or _is_a_copy(folder):
            continue
        for name in PACKAGES:
            found = os.path.join(folder, name)
            if os.path.isfile(f"{found}.py"):
                raise HiddenPackage(_message(f"{found}.py", name))
            if os.path.isfile(os.path.join(found, "__init__.py")) or (
                plain_folders_hide and os.path.isdir(found)
            ):
                raise HiddenPackage(_message(found, name))


def first_on_the_path_of_workers() -> list[str]:
    """Return the folders that Ray's workers search first: that of the script, and the working directory."""
    script = os.path.dirname(os.path.realpath(sys.argv[0]))
    return [*([script] if script in sys.path else []), ""]


def _is_a_copy(folder: str) -> bool:
    """Return True for a checkout of this toolkit: the packages in it are the toolkit's own."""
    return all(os.path.isfile(os.path.join(folder, name, "__init__.py")) for name in PACKAGES)


def _absolute(entry: str) -> str | None:
    """Return the folder that an entry of Python's path means; None if it is in a working directory that is gone."""
    try:
        return os.path.realpath(entry or os.curdir)
    except FileNotFoundError:
        return None


def _same(entry: str, folder: str) -> bool:
    return _absolute(entry) == os.path.realpath(folder)


def _message(found: str, name: str) -> str:
    found = found.removesuffix(f"{os.sep}__init__.py")
    is_file = found.endswith(".py")
    return (
        f"{found}{'' if is_file else os.sep} hides the toolkit's package {name!r} ({os.path.join(_ROOT, name)}): "
        f"rename yours, e.g. my_{name}{'.py' if is_file else os.sep}, or work in another folder"
    )
