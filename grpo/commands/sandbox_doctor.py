"""`grpo sandbox doctor`: reports the sandbox of this host, what it guarantees, and whether hostile programs escape it.

The exit code is 1 if one of them escaped, or if no sandbox of the requested tier works here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from policies.json_types import JsonDict
from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.escapes.suite import CATEGORIES, Report, Result, run_suite
from rewards.sandbox.languages import MissingToolchain, find_toolchain
from rewards.sandbox.launcher import python_path
from rewards.sandbox.packages import describe_imports
from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.settings import SandboxSettings, TierName
from rewards.sandbox.tiers import Tier
from rewards.sandbox.types import LANGUAGES

_WEAKER: tuple[TierName, ...] = ("landlock",)
_COLOURS = {"passed": "green", "gap": "yellow", "skipped": "cyan", "failed": "bold red"}


@dataclass(frozen=True)
class Diagnosis:
    """The findings of the doctor."""

    tier: Tier | None
    """The sandbox; None if there is none."""
    error: str
    """The reason why there is none, and the fix."""
    weaker: tuple[str, ...]
    """If there is none: tiers that would work if requested by name."""
    languages: dict[str, str]
    """Path of the compiler or interpreter, or what is missing."""
    missing: tuple[str, ...]
    """Languages that this host cannot run."""
    suite: Report | None

    @property
    def ok(self) -> bool:
        """True if programs are isolated, as far as the tier promises."""
        return self.suite is not None and not self.suite.failed


def categories() -> list[str]:
    """Return the names of the kinds of hostile programs."""
    return [category.name for category in CATEGORIES]


def diagnose(
    settings: SandboxSettings, only: Sequence[str] | None = None, show_progress: bool = False
) -> Diagnosis:
    """Open the sandbox, look for languages and run the hostile programs (about a minute).

    Args:
        only: categories of programs to run; None or empty runs all.
    """
    languages, missing = _languages()
    try:
        with Sandbox.open(settings) as sandbox:
            tier = sandbox.tier
    except SandboxUnavailable as error:
        weaker = tuple(name for name in _WEAKER if name != settings.tier and _works(name))
        return Diagnosis(None, str(error), weaker, languages, missing, None)
    with Console(stderr=True).status("hostile programs at work") as status:
        status.stop() if not show_progress else None
        done = 0

        def progress(result: Result) -> None:
            nonlocal done
            done += 1
            status.update(f"hostile programs at work: {done}, {result.category}")

        report = run_suite(settings, only or None, on_result=progress)
    return Diagnosis(tier, "", (), languages, missing, report)


def as_json(diagnosis: Diagnosis) -> JsonDict:
    """Return the diagnosis as JSON types."""
    tier, suite = diagnosis.tier, diagnosis.suite
    return {
        "ok": diagnosis.ok,
        "error": diagnosis.error,
        "weaker_tiers": list(diagnosis.weaker),
        "tier": tier.name if tier else None,
        "launcher": tier.launcher if tier else None,
        "cgroup": tier.cgroup if tier else None,
        "guarantees": list(tier.guarantees) if tier else [],
        "gaps": list(tier.gaps) if tier else [],
        "languages": {name: {"found": name not in diagnosis.missing, "where": where}
                      for name, where in diagnosis.languages.items()},
        "imports": describe_imports(SandboxSettings()),
        "suite": None if suite is None else {
            **{status: suite.count(status) for status in ("passed", "failed", "gap", "skipped")},
            "seconds": round(suite.seconds, 1),
            "cases": [asdict(result) | {"seconds": round(result.seconds, 3)} for result in suite.results],
        },
    }  # fmt: skip


def as_text(diagnosis: Diagnosis) -> str:
    """Return the report for the screen."""
    from grpo.commands.sandbox import rendered

    tier, suite = diagnosis.tier, diagnosis.suite
    parts: list[object] = []
    if tier:
        parts += [
            _pairs(
                [
                    ("tier", tier.name),
                    ("started by", tier.launcher),
                    ("control groups", "yes" if tier.cgroup else "no"),
                ]
            )
        ]
        parts += [Text("\nholds", "bold"), *(Text(f"  {line}") for line in tier.guarantees)]
        parts += [Text("does not hold", "bold"), *(Text(f"  {line}") for line in tier.gaps)]
    else:
        parts += [Text("no sandbox", "bold red"), Text(diagnosis.error)]
        for name in diagnosis.weaker:
            parts += [Text(f'tier "{name}" works here, and isolates less: grpo sandbox doctor --tier {name}')]
    parts += [
        Text("\nlanguages", "bold"),
        _pairs([(f"  {name}", where) for name, where in diagnosis.languages.items()]),
    ]
    parts += [Text(f"\nimports: {describe_imports(SandboxSettings())}")]
    if suite:
        parts += [Text("\nhostile programs", "bold"), _suite_table(suite)]
        parts += [_problems(result) for result in suite.results if result.status in ("failed", "gap")]
        skipped = {
            (result.language, result.problems[0]) for result in suite.results if result.status == "skipped"
        }
        parts += [Text(f"  skipped ({language}): {reason}", "cyan") for language, reason in sorted(skipped)]
        parts += [_summary(suite)]
    return rendered(*parts)


def _languages() -> tuple[dict[str, str], tuple[str, ...]]:
    where: dict[str, str] = {}
    missing = []
    for name in LANGUAGES:
        try:
            toolchain = find_toolchain(name)
            assert toolchain is not None
            command = toolchain.compile or toolchain.run
            where[name] = command[0] if command else python_path()
        except MissingToolchain as error:
            where[name] = str(error)
            missing.append(name)
    return where, tuple(missing)


def _works(tier: TierName) -> bool:
    try:
        Sandbox.open(SandboxSettings(tier=tier)).close()
    except SandboxUnavailable:
        return False
    return True


def _pairs(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def _suite_table(suite: Report) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for header in ("  of", *_COLOURS, "seconds"):
        table.add_column(header, justify="left" if header == "  of" else "right")
    for category in dict.fromkeys(result.category for result in suite.results):
        mine = [result for result in suite.results if result.category == category]
        counts = {status: sum(result.status == status for result in mine) for status in _COLOURS}
        cells = [Text(str(count) if count else "-", colour if count else "dim")
                 for (_, count), colour in zip(counts.items(), _COLOURS.values(), strict=True)]  # fmt: skip
        table.add_row(f"  {category}", *cells, f"{sum(result.seconds for result in mine):.1f}")
    return table


def _problems(result: Result) -> Text:
    text = Text(
        f"  {result.status}: {result.name} ({result.category}, {result.language or '-'})",
        _COLOURS[result.status],
    )
    for problem in result.problems:
        text.append(f"\n    {problem!a}", "default")
    return text


def _summary(suite: Report) -> Text:
    words = [f"{suite.count('passed')} passed", f"{suite.count('failed')} failed"]
    if gaps := suite.count("gap"):
        words.append(f"{gaps} through gaps that this tier lists")
    words.append(f"{suite.count('skipped')} skipped")
    return Text(f"{', '.join(words)} in {suite.seconds:.1f} s", "bold red" if suite.failed else "bold green")
