"""What a check of scripts/gpu_check.py found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Check:
    """What one check found."""

    name: str
    ok: bool
    text: str
    figures: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
