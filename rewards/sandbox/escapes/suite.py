"""Run the hostile programs and check from outside what they did.

    report = run_suite(SandboxSettings())
    report.failed        an escape, a hang, a verdict of the wrong kind, or a failure of the sandbox

The call for every program must return before a deadline. After every program, the suite checks that its verdict is
right, that its output contains no secret, that it touched no canary of the host, that none of its processes is left,
and that the next program runs in a clean sandbox.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rewards.sandbox import leases
from rewards.sandbox.child.landlock import SCOPES_SIGNALS, abi
from rewards.sandbox.child.process_tree import below, processes
from rewards.sandbox.escapes.canaries import Canaries
from rewards.sandbox.escapes.case import ROOMY, Case, Category
from rewards.sandbox.escapes.compilers import COMPILERS
from rewards.sandbox.escapes.files import FILES
from rewards.sandbox.escapes.kernel import KERNEL
from rewards.sandbox.escapes.network import NETWORK
from rewards.sandbox.escapes.poison import POISON
from rewards.sandbox.escapes.preludes import PRELUDES
from rewards.sandbox.escapes.processes import BOMBS, LINGERING, PROCESSES
from rewards.sandbox.escapes.resources import DISK, MEMORY, OUTPUT
from rewards.sandbox.escapes.secrets_of_host import IMITATIONS, SECRETS
from rewards.sandbox.languages import MissingToolchain, find_toolchain
from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.settings import SandboxSettings
from rewards.sandbox.types import Outcome

CATEGORIES = (
    FILES,
    SECRETS,
    IMITATIONS,
    NETWORK,
    KERNEL,
    PROCESSES,
    BOMBS,
    LINGERING,
    MEMORY,
    DISK,
    OUTPUT,
    POISON,
    COMPILERS,
)
AFTERWARDS = "afterwards"
"""The category of the checks that are made once, when the sandbox is closed."""

Status = Literal["passed", "failed", "gap", "skipped"]
"""How a program ended. A "gap" got through, as the tier says that it would."""

_GRACE_S = 30.0
"""Seconds that a call may take beyond its limits on a busy host."""
_SETTLE_S = 5.0
_ESCAPED = re.compile(rb"^ESCAPED.*|error: #error ESCAPED.*", re.MULTILINE)
_PROBES = {
    "python": "import builtins, json, math, os, sys\n"
    "here = set(os.listdir('.')) - {'main.py'}\n"
    "shared = set()\n"
    "try:\n    shared = {n for n in os.listdir('/dev/shm') if n in ('poison', 'all', 'fill', 'e0')}\n"
    "except OSError:\n    pass\n"
    "evil = [n for m in (os, sys, json, builtins) for n in vars(m) if n == 'evil']\n"
    "token = sys.stdin.read()\n"
    "right = json.loads(json.dumps([1])) == [1] and math.floor(2.5) == 2 and sys.getrecursionlimit() == 1000\n"
    "print(token, 'clean' if right and not (here or shared or evil) else (right, here, shared, evil))\n",
    "bash": 'read -r token; [ "$(ls -A)" = main.sh ] && echo "$token clean"',
    "javascript": "const fs = require('fs'); const token = fs.readFileSync(0, 'utf8');"
    "console.log(token, fs.readdirSync('.').join() == 'main.js' && ({}).evil === undefined ? 'clean' : 'evil')",
}
"""Programs that check the sandbox after a case, by language; the Python one runs after every case."""


@dataclass(frozen=True)
class Result:
    """The result of one program."""

    name: str
    category: str
    language: str
    status: Status
    problems: tuple[str, ...] = ()
    """Why the program failed, what got through, or why it was skipped."""
    verdict: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """The results of the whole suite."""

    results: tuple[Result, ...]
    seconds: float

    def count(self, status: Status) -> int:
        """Return the number of results with this status."""
        return sum(result.status == status for result in self.results)

    @property
    def failed(self) -> tuple[Result, ...]:
        """Return the results of programs that escaped or were judged wrongly."""
        return tuple(result for result in self.results if result.status == "failed")


def run_suite(
    settings: SandboxSettings,
    categories: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    on_result: Callable[[Result], None] | None = None,
) -> Report:
    """Run the hostile programs one after the other.

    Args:
        categories: the only categories to run; None for all.
        names: the only cases to run; None for all.
        on_result: called with the result of each program.

    Raises:
        SandboxUnavailable: there is no sandbox to test.
    """
    start = time.monotonic()
    results = []
    for result in _results(settings, categories, names):
        results.append(result)
        if on_result:
            on_result(result)
    return Report(tuple(results), time.monotonic() - start)


def _results(
    settings: SandboxSettings, categories: Sequence[str] | None, names: Sequence[str] | None
) -> Iterator[Result]:
    before = _traces()
    with Canaries() as canaries:
        arena = Arena(settings, canaries)
        try:
            for category in CATEGORIES:
                for case in category.cases:
                    if (categories is None or category.name in categories) and (
                        names is None or case.name in names
                    ):
                        yield arena.run(category, case)
        finally:
            arena.close()
        yield _afterwards(before, arena, canaries)


class Arena:
    """A sandbox under attack, and the processes and canaries that the suite watches around it."""

    def __init__(self, settings: SandboxSettings, canaries: Canaries) -> None:
        self._settings, self._canaries = settings, canaries
        self.launchers: dict[int, set[int]] = {}
        """The launchers by process id, each with the processes that belong to it from the start."""
        self._sandbox = Sandbox.open(settings, self._on_launcher)
        self._signals_held = True

    def _on_launcher(self, pid: int) -> None:
        self.launchers[pid] = {process.pid for process in below(pid, processes())}

    def close(self) -> None:
        """End the sandbox."""
        self._sandbox.close()

    def run(self, category: Category, case: Case) -> Result:
        """Run one program and judge it."""
        if reason := self._reason_to_skip(case):
            return Result(case.name, category.name, case.language, "skipped", (reason,))
        start = time.monotonic()
        outcome = self._call(lambda: self._sandbox.run(
            case.language, self._text(case), case.stdin, case.limits
        ), case)  # fmt: skip
        problems = [
            *judge(case, outcome, self._canaries.secrets),
            *self._canaries.disturbed(),
            *self._leftovers(),
        ]
        if outcome is None:
            self._reopen()
        problems += self._next_program("python")
        if category.name == "poison" and case.language in ("bash", "javascript"):
            problems += self._next_program(case.language)
        status: Status = "passed"
        if problems:
            status = "gap" if self._sandbox.tier.name in case.gaps else "failed"
        if status == "failed" and category.name == "signals":
            self._signals_held = False
        return Result(
            case.name,
            category.name,
            case.language,
            status,
            tuple(dict.fromkeys(problems)),
            outcome.verdict if outcome else "",
            time.monotonic() - start,
        )

    def _reason_to_skip(self, case: Case) -> str:
        try:
            find_toolchain(case.language)
        except MissingToolchain as error:
            return str(error)
        machine, tier = os.uname().machine, self._sandbox.tier.name
        if case.machine not in (None, machine):
            return f"its system calls are those of {case.machine}, this is {machine}"
        if tier == "unisolated" and case.danger != "none":
            return "nothing would keep it from harming this host"
        if case.danger == "signals" and not (self._signals_held and _holds_signals(tier)):
            return "signals are not held here, so that it would end processes of this user"
        return ""

    def _text(self, case: Case) -> str:
        text = PRELUDES.get(case.language, "") + case.source
        for token, value in self._canaries.tokens().items():
            text = text.replace(f"@{token}@", value)
        return text

    def _call(self, run: Callable[[], Outcome], case: Case) -> Outcome | None:
        """Return the outcome, or None if it did not come in time."""
        outcomes: list[Outcome] = []
        thread = threading.Thread(target=lambda: outcomes.append(run()), daemon=True)
        thread.start()
        thread.join(case.limits.compile_wall_s + case.limits.wall_s + _GRACE_S)
        return outcomes[0] if outcomes else None

    def _leftovers(self) -> Iterator[str]:
        """Yield processes that outlive the run, after giving the kernel a moment to end them."""
        give_up = time.monotonic() + _SETTLE_S
        while (found := self._remaining()) and time.monotonic() < give_up:
            time.sleep(0.01)
        yield from (f"process {pid} of it is left" for pid in sorted(found))

    def _remaining(self) -> set[int]:
        among = processes()
        found = {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_named(pid)}
        for launcher, own in self.launchers.items():
            found |= {process.pid for process in below(launcher, among)} - own - set(self.launchers)
        return found

    def _is_named(self, pid: int) -> bool:
        nonce = self._canaries.nonce.encode()
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/comm").read_bytes().strip() == nonce or Path(
                f"/proc/{pid}/cmdline"
            ).read_bytes().startswith(nonce)
        return False

    def _next_program(self, language: str) -> Iterator[str]:
        token = self._canaries.nonce
        outcome = self._sandbox.run(language, _PROBES[language], token.encode(), ROOMY)
        if outcome.verdict != "ok" or outcome.stdout != f"{token} clean\n".encode():
            output = _end(outcome.stdout + outcome.stderr)
            yield f"the next {language} program: {outcome.verdict}, {outcome.reason}: {output}"

    def _reopen(self) -> None:
        ending = threading.Thread(target=self._sandbox.close, daemon=True)
        ending.start()
        ending.join(_GRACE_S)
        self._sandbox = Sandbox.open(self._settings, self._on_launcher)


def judge(case: Case, outcome: Outcome | None, secrets: Mapping[str, bytes]) -> Iterator[str]:
    """Yield what is wrong with an outcome, in words. An outcome of None means that the call did not return."""
    if outcome is None:
        yield "the call did not come back, or raised"
        return
    output = outcome.stdout + b"\n" + outcome.stderr
    if outcome.verdict not in case.verdicts:
        wanted = " or ".join(sorted(case.verdicts))
        yield f"verdict {outcome.verdict} ({outcome.reason}) instead of {wanted}: {_end(output)}"
    yield from (found.decode(errors="replace") for found in _ESCAPED.findall(output)[:20])
    for name, secret in secrets.items():
        if secret in output:
            yield f"a secret came out: {name}"
    if case.tries and not re.search(rb"^tried$", outcome.stdout, re.MULTILINE):
        yield f"it did not get to the end of its attack: {_end(output)}"
    if case.within_s is not None and outcome.wall_s > case.within_s:
        yield f"it took {outcome.wall_s:.1f} s"
    if case.check and (problem := case.check(outcome)):
        yield problem


def _holds_signals(tier: str) -> bool:
    """Return False where only Landlock could keep signals from this user's processes, and this kernel's cannot."""
    return tier != "landlock" or os.getuid() == 0 or abi() >= SCOPES_SIGNALS


def _end(output: bytes) -> str:
    return output[-300:].decode(errors="replace").strip()


@dataclass(frozen=True)
class _Traces:
    mounts: frozenset[str]
    folders: frozenset[str]


def _traces() -> _Traces:
    """Return everything that a sandbox may have on the host while it is open."""
    folders: set[str] = set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup" in line:
            top = line.split()[4]
            folders |= {str(path) for path in Path(top).glob(f"**/{leases.PREFIX}*")}
    for parent in (Path("/dev/shm"), Path(os.environ.get("TMPDIR", "/tmp"))):
        folders |= {str(path) for path in parent.glob(f"{leases.PREFIX}*")}
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return _Traces(frozenset(mounts), frozenset(folders))


def _afterwards(before: _Traces, arena: Arena, canaries: Canaries) -> Result:
    """Check that the closed sandbox has left no process, mount, control group or folder."""
    now = _traces()
    problems = [f"mount left: {line}" for line in now.mounts - before.mounts]
    # Other sandboxes come and go meanwhile; the folder of one whose owner is alive is locked.
    for path in map(Path, now.folders - before.folders):
        if path in leases.abandoned(path.parent):
            problems.append(f"folder left: {path}")
    problems += [f"launcher {pid} is left" for pid in arena.launchers if os.path.exists(f"/proc/{pid}")]
    problems += canaries.disturbed()
    return Result("nothing is left", AFTERWARDS, "", "failed" if problems else "passed", tuple(problems))
