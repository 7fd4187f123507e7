"""Guards against the silent zero: a run that goes on and looks fine while its signal is dead.

Each finding names the cause, the figure, the bound and the config key. A fatal one stops the run, the others warn.
They are made by pure functions: of the training signal in grpo/tracking/signal.py, of the rewards in
rewards/scoring/monitor.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from grpo.common.errors import GuardTripped
from grpo.tracking.signal import (
    ENTROPY_PHASES,
    Limits,
    Row,
    entropy_findings,
    phase_findings,
    phase_row,
    phases_of,
    window_findings,
)
from rewards.config import AuditConfig
from rewards.scoring.monitor import AUDIT_PHASES, Finding, findings, varying, verifier_finding

ON_RESUME = (
    "Keys of [guards] may change when the run is resumed; keys that decide what it learns need --allow-change"
)
"""How the knob that a finding names is turned."""


class Guards:
    """Judges each phase together with those before it."""

    def __init__(self, limits: Limits, components: Sequence[str], audit: AuditConfig, main: str) -> None:
        """Keep the bounds.

        Args:
            limits: bounds on the training signal.
            components: names of the rewards.
            audit: bounds on the rewards.
            main: the component that is to decide, `eval.correct`.
        """
        self._limits, self._audit = limits, audit
        self._components, self._main = tuple(components), main
        window = limits.config.window
        self._window: deque[Row] = deque(maxlen=window)
        self._entropies: deque[Row] = deque(maxlen=max(window, ENTROPY_PHASES))
        self._audited: deque[Row] = deque(maxlen=AUDIT_PHASES)
        self._varied: set[str] = set()

    def recall(self, rows: Sequence[Row]) -> None:
        """Take up the phases before a restart, so that a resumed run is judged like one in one piece.

        Args:
            rows: of metrics.jsonl, one per update; the last of each phase has the phase's own metrics.
        """
        for updates in phases_of(rows):
            self._remember(phase_row({}, updates))

    def check(self, phase: Row, updates: Sequence[Row]) -> list[Finding]:
        """Judge one phase.

        Args:
            phase: metrics of the phase.
            updates: metrics of each of its updates.

        Returns:
            Findings that do not stop the run, for a person to act on.

        Raises:
            GuardTripped: the first fatal finding; going on would train on nothing.
        """
        row = phase_row(phase, updates)
        self._remember(row)
        found = list(phase_findings(row, self._limits))
        if (second := verifier_finding(list(self._audited), self._audit)) is not None:
            found.append(second)
        window = list(self._window)
        if len(window) == self._window.maxlen:
            found += window_findings(window, self._limits)
            found += entropy_findings(list(self._entropies), self._limits.config)
            found += findings(window, self._components, self._audit, self._main, self._varied)
        for finding in found:
            if finding.is_fatal:
                raise GuardTripped(f"{finding.text}. {ON_RESUME}")
        return found

    def _remember(self, row: Row) -> None:
        self._window.append(row)
        self._entropies.append(row)
        self._varied |= varying(row)
        if "audit/agree" in row:
            self._audited.append(row)
