"""Two machines in one: a network namespace and a /dev/shm for each, and a cable between them.

Nothing that one offers on localhost or keeps in shared memory reaches the other; files are shared, as a cluster's are.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SHM = "mount -t tmpfs -o size=4g tmpfs /dev/shm"
"""Ray's objects and gloo's buffers of a machine; its own, as memory between machines is."""


@dataclass(frozen=True)
class Machine:
    """One of the two."""

    address: str
    namespace: str
    pin: Path
    """Where the mounts of its processes are pinned."""

    def words(self, words: Sequence[str]) -> list[str]:
        """Return the command that runs these words on the machine."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", f"--mount={self.pin}", "--wd=.", *words]


def why_not() -> str | None:
    """Return why this host cannot have them, or None."""
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if missing := [tool for tool in ("ip", "unshare", "nsenter") if shutil.which(tool) is None]:
        return f"no {', '.join(missing)} on this host"
    if subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False).returncode:
        return "this host allows no namespaces"
    return None


@contextmanager
def two_machines(scratch: Path) -> Iterator[tuple[Machine, Machine]]:
    """Make both, and take them away after the block; processes on them must have ended."""
    tag = secrets.token_hex(2)
    names = [f"grpo{tag}a", f"grpo{tag}b"]
    links = [f"veth{tag}a", f"veth{tag}b"]
    pins = scratch / "mounts"
    pins.mkdir()
    _run("mount", "--bind", str(pins), str(pins))
    _run("mount", "--make-private", str(pins))
    try:
        for name in names:
            _run("ip", "netns", "add", name)
        _run("ip", "link", "add", links[0], "type", "veth", "peer", "name", links[1])
        machines = []
        for number, (name, link) in enumerate(zip(names, links, strict=True), start=1):
            address = f"10.77.0.{number}"
            _run("ip", "link", "set", link, "netns", name)
            _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", link)
            _run("ip", "-n", name, "link", "set", link, "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")
            pin = pins / name
            pin.touch()
            _run("unshare", f"--mount={pin}", "--propagation=private", "sh", "-c", SHM)
            machines.append(Machine(address, name, pin))
        yield machines[0], machines[1]
    finally:
        for name in names:
            subprocess.run(["umount", str(pins / name)], capture_output=True, check=False)
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        _run("umount", str(pins))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)
