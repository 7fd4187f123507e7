"""Run untrusted programs. Call `Sandbox.open()` once, then `run` from any thread.

    with Sandbox.open() as sandbox:
        outcome = sandbox.run("python", "print(input()[::-1])", b"abc")

The verdict is computed here, outside the sandbox, from the bytes read and the flags set by the harness; exit codes and
messages that imitate a limit stay "runtime_error". Expected outputs never enter the sandbox.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from policies.json_types import JsonMapping
from rewards.sandbox.cgroups import Groups, Slot
from rewards.sandbox.child.process_tree import remove_tree
from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.job import Report, Work, do
from rewards.sandbox.judge import judge, unstarted
from rewards.sandbox.languages import MissingToolchain, Toolchain, find_toolchain
from rewards.sandbox.launcher import Launcher, LauncherGone, LauncherRefused, Start, program_uids
from rewards.sandbox.leases import work_base
from rewards.sandbox.memory_files import SandboxFile
from rewards.sandbox.packages import THREADS, find_packages, probe_source
from rewards.sandbox.settings import SandboxSettings, TierName
from rewards.sandbox.tiers import Tier, describe, unavailable
from rewards.sandbox.types import MIB, Job, Limits, Outcome

_TRIES = 2
_PAGE = 4096
_IMPORT_S = 60.0
"""Longest time for the first import of a package."""
_MAX_PROGRAM_BYTES = 64 * MIB
_COMPILER = {
    "memory_bytes": 2048 * MIB,
    "tasks": 256,
    "tmp_bytes": 512 * MIB,
    "open_files": 1024,
    "output_bytes": MIB,
}
"""The lowest limits of a compile step: a compiler's needs do not depend on the program's limits."""


class Sandbox:
    """Runs programs in isolation. Thread-safe; `close` ends all runs.

    Made by `Sandbox.open`.
    """

    def __init__(self, settings: SandboxSettings, on_launcher: Callable[[int], None] | None = None) -> None:
        self._settings, self._on_launcher = settings, on_launcher
        self._packages = find_packages(settings.packages)
        # Python programs run in the launcher's own interpreter, which is already started and forks for each run.
        self._python = Toolchain(
            name="python",
            source_name="main.py",
            compile=None,
            run=(),
            env=THREADS if settings.packages else {},
            binds=self._packages.binds,
        )
        self._tier_name: TierName = "namespaces" if settings.tier == "auto" else settings.tier
        self._lock = threading.Lock()
        self._launchers: dict[tuple[str, ...], Launcher] = {}
        self._closed = False
        self._prepared = False
        self._with_groups = settings.cgroups
        self._facts: JsonMapping = {}
        self._base: tuple[Path, int] | None = None
        self._groups: Groups | None = None
        self._uids = tuple(program_uids())
        _OPEN.add(self)

    @classmethod
    def open(
        cls, settings: SandboxSettings | None = None, on_launcher: Callable[[int], None] | None = None
    ) -> Sandbox:
        """Probe the host with a real run, and open a sandbox of the tier that the settings name.

        Args:
            on_launcher: called with the process id of every launcher that the sandbox starts.

        Raises:
            SandboxUnavailable: the host refuses the tier; the message has a hint.
        """
        settings = settings or SandboxSettings()
        sandbox = cls(settings, on_launcher)
        failure = sandbox._probe()
        if failure and sandbox._groups:  # control groups that look usable, but are not
            sandbox._end_all()
            sandbox._with_groups = False
            failure = sandbox._probe()
        if failure:
            sandbox.close()
            raise SandboxUnavailable(unavailable(sandbox._tier_name, failure))
        sandbox._check_packages()
        return sandbox

    @property
    def tier(self) -> Tier:
        """Return the isolation that programs run under on this host."""
        return describe(self._tier_name, bool(self._uids), self._groups is not None, self._facts)

    def run(
        self, language: str, source: str | bytes, stdin: bytes = b"", limits: Limits | None = None
    ) -> Outcome:
        """Compile the program if its language needs that, and run it once. Never raises for what the program does."""
        return self.run_many(language, source, [stdin], limits)[0]

    def run_many(
        self,
        language: str,
        source: str | bytes,
        stdins: Sequence[bytes],
        limits: Limits | None = None,
        total_wall_s: float | None = None,
    ) -> list[Outcome]:
        """Compile once and run once per input, each in a fresh sandbox; see `Job` for the arguments."""
        code = source.encode(errors="surrogatepass") if isinstance(source, str) else source
        return self.run_job(Job(language, code, tuple(stdins), limits or Limits(), total_wall_s))

    @property
    def has_same_python(self) -> bool:
        """Return True: the launcher is the interpreter below this virtual environment."""
        return True

    def run_job(self, job: Job) -> list[Outcome]:
        """Run a job, see `JobRunner`. Compiles once."""
        limits, stdins, total_wall_s = job.limits, job.stdins, job.total_wall_s
        try:
            toolchain = self._python if job.language == "python" else find_toolchain(job.language)
        except MissingToolchain as error:
            return [unstarted("unsupported_language", str(error), self._tier_name)] * len(stdins)
        if toolchain is None:
            return [
                unstarted("unsupported_language", f"unknown language {job.language!r}", self._tier_name)
            ] * len(stdins)
        files: Sequence[SandboxFile] = [SandboxFile(toolchain.source_name, job.source)]
        if toolchain.compile:
            compiled = self._compile(toolchain, files, limits)
            if isinstance(compiled, Outcome):
                return [compiled] * len(stdins)
            files = compiled
        outcomes = []
        end = None if total_wall_s is None else time.monotonic() + total_wall_s
        for stdin in stdins:
            left = limits.wall_s if end is None else min(limits.wall_s, end - time.monotonic())
            if left <= 0:
                outcomes.append(
                    unstarted(
                        "time_limit", f"no time left of {total_wall_s:g} s for all runs", self._tier_name
                    )
                )
                continue
            work = _work(toolchain, toolchain.run, files, stdin, replace(limits, wall_s=left))
            outcomes.append(judge(self._try(toolchain, work), work, self._tier_name))
        return outcomes

    def close(self) -> None:
        """End every launcher, and with it every run. Further runs return "sandbox_error"."""
        self._closed = True
        self._end_all()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _compile(
        self, toolchain: Toolchain, files: Sequence[SandboxFile], limits: Limits
    ) -> Sequence[SandboxFile] | Outcome:
        assert toolchain.compile is not None
        least = {name: max(value, getattr(limits, name)) for name, value in _COMPILER.items()}
        work = _work(
            toolchain,
            toolchain.compile,
            files,
            b"",
            replace(limits, wall_s=limits.compile_wall_s, **least),
            collect_bytes=_MAX_PROGRAM_BYTES,
            compiles=True,
        )
        report = self._try(toolchain, work)
        outcome = _cut(judge(report, work, self._tier_name), limits.output_bytes)
        if outcome.verdict == "sandbox_error":
            return outcome
        if outcome.verdict != "ok":
            return replace(outcome, verdict="compile_error", reason=f"compiler: {outcome.reason}")
        if not report.files:
            reason = "no program came out" if report.files is not None else "the program is too large"
            return replace(outcome, verdict="compile_error", reason=f"compiler: {reason}")
        return report.files

    def _try(self, toolchain: Toolchain, work: Work) -> Report:
        """Run the work; after a failure of the sandbox itself, run it once more."""
        report = Report(failure="closed")
        for _ in range(_TRIES):
            try:
                report = self._do(toolchain.binds, work)
            except (LauncherGone, SandboxUnavailable, OSError) as error:
                report = Report(failure=f"{type(error).__name__}: {error}")
            if not report.failure or self._closed:
                break
        return report

    def _do(self, binds: tuple[str, ...], work: Work) -> Report:
        slot, handle = self._slot(work), None
        try:
            report, handle = self._with_launcher(binds, work, slot)
            return report
        finally:
            if slot and self._groups:
                self._groups.release(slot, handle)
            elif handle is not None:
                os.close(handle)

    def _slot(self, work: Work) -> Slot | None:
        with self._lock:
            if self._closed:
                raise LauncherGone("the sandbox was closed")
            if not self._prepared:
                self._prepare()
                self._prepared = True
            groups = self._groups
        return groups.acquire(work.memory_bytes + work.tmp_bytes, work.tasks) if groups else None

    def _with_launcher(self, binds: tuple[str, ...], work: Work, slot: Slot | None) -> tuple[Report, int]:
        if not self._settings.zygote:
            launcher = self._start(binds)
            try:
                return do(launcher, work, slot)
            finally:
                launcher.close()
        try:
            return do(self._launcher(binds), work, slot)
        except LauncherRefused:
            raise
        except LauncherGone:  # it died after the last run, so nothing of this run was done
            return do(self._launcher(binds), work, slot)

    def _launcher(self, binds: tuple[str, ...]) -> Launcher:
        with self._lock:
            if self._closed:
                raise LauncherGone("the sandbox was closed")
            launcher = self._launchers.get(binds)
            if launcher is None or not launcher.is_usable():
                if launcher:
                    launcher.close()
                self._launchers[binds] = launcher = self._start(binds)
            return launcher

    def _start(self, binds: tuple[str, ...]) -> Launcher:
        base = self._base[0] if self._base else None
        start = Start(
            tier=self._tier_name,
            uids=self._uids,
            groups=self._groups,
            base=base,
            serves_many=self._settings.zygote,
            modules=self._packages.modules,
        )
        launcher = Launcher(start, binds)
        self._facts = launcher.facts
        if self._on_launcher:
            self._on_launcher(launcher.pid)
        return launcher

    def _prepare(self) -> None:
        """Set up what launchers share: control groups, and a folder for work directories where there is no mount."""
        if self._with_groups:
            self._groups = Groups.find(self._uids[0] if self._uids else os.getuid())
        if self._tier_name != "namespaces":
            self._base = work_base()

    def _probe(self) -> str:
        """Run a first program; return what went wrong, or "" if nothing did."""
        try:
            report = self._do((), Work([SandboxFile("main.py", b"print(6 * 7)")]))
        except (SandboxUnavailable, LauncherGone, OSError) as error:
            return str(error)
        return "" if report.stdout == b"42\n" else f"a first program did not run: {report.failure or report}"

    def _check_packages(self) -> None:
        """Import every package in a first program.

        Raises:
            SandboxUnavailable: one of them cannot be imported in the sandbox.
        """
        for name in self._settings.packages:
            outcome = self.run("python", probe_source([name]), limits=Limits(wall_s=_IMPORT_S))
            if outcome.stdout != b"42\n":
                self.close()
                said = outcome.stderr.decode(errors="replace").strip().rpartition("\n")[2]
                raise SandboxUnavailable(
                    f"sandbox.packages: {name} cannot be imported in the sandbox: {said or outcome.reason}"
                )

    def _end_all(self) -> None:
        with self._lock:
            launchers = list(self._launchers.values())
            self._launchers.clear()
        for launcher in launchers:
            launcher.close()
        if self._base:
            remove_tree(str(self._base[0]))
            os.close(self._base[1])
        if self._groups:
            self._groups.close()
        self._base = self._groups = None
        self._prepared = False

    def disown(self) -> None:
        """Reset this copy of the sandbox in a fork.

        Everything belongs to the owner, and a thread that does not exist in the fork may hold the lock.
        """
        self._lock = threading.Lock()
        for launcher in self._launchers.values():
            launcher.disown()
        self._launchers = {}
        self._base = self._groups = None
        self._prepared = False


_OPEN: weakref.WeakSet[Sandbox] = weakref.WeakSet()


def _after_fork() -> None:
    for sandbox in list(_OPEN):
        sandbox.disown()


os.register_at_fork(after_in_child=_after_fork)


def _work(
    toolchain: Toolchain,
    command: Sequence[str],
    files: Sequence[SandboxFile],
    stdin: bytes,
    limits: Limits,
    collect_bytes: int = 0,
    compiles: bool = False,
) -> Work:
    return Work(
        files=files,
        argv=command,
        env=toolchain.env,
        stdin=stdin,
        wall_s=limits.wall_s,
        memory_bytes=limits.memory_bytes,
        tasks=limits.tasks,
        output_bytes=limits.output_bytes,
        # Add room for the given files, so that they do not count against the program's limit.
        tmp_bytes=limits.tmp_bytes + sum(len(file.content) + _PAGE for file in files),
        open_files=limits.open_files,
        collect_bytes=collect_bytes,
        compiles=compiles,
    )


def _cut(outcome: Outcome, output_bytes: int) -> Outcome:
    """Cut a compiler's output, which may be longer than a program's, to the same limit."""
    return replace(outcome, stdout=outcome.stdout[:output_bytes], stderr=outcome.stderr[:output_bytes])
