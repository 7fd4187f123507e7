"""Lists R1's distilled students with the learning rates that the paper prints, and finds the one nearest to a student.

    name = nearest("qwen2", 1_543_714_304)      "qwen-1.5b"
    PRESETS[name].lr                            1e-4

Common to all: SFT only, 2 to 3 epochs, cosine to a tenth, context 32,768, batch 64 (2501.12948 v2 §B.4.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SOURCE = "2501.12948 v2 §B.4.3"


@dataclass(frozen=True)
class StudentPreset:
    """One of the paper's students."""

    family: str
    """Family, "qwen" or "llama"."""
    base: str
    """The checkpoint that the paper started from."""
    parameters: float
    lr: float
    """Initial learning rate."""


PRESETS: dict[str, StudentPreset] = {
    "qwen-1.5b": StudentPreset("qwen", "Qwen2.5-Math-1.5B", 1.54e9, 1e-4),
    "qwen-7b": StudentPreset("qwen", "Qwen2.5-Math-7B", 7.62e9, 8e-5),
    "llama-8b": StudentPreset("llama", "Llama-3.1-8B", 8.03e9, 5e-5),
    "qwen-14b": StudentPreset("qwen", "Qwen2.5-14B", 14.8e9, 7e-5),
    "qwen-32b": StudentPreset("qwen", "Qwen2.5-32B", 32.8e9, 6e-5),
    "llama-70b": StudentPreset("llama", "Llama-3.3-70B-Instruct", 70.6e9, 2e-5),
}
FAR = 3.0
"""Size ratio to the nearest of the paper's students from which on the learning rate is an extrapolation."""


def nearest(family: str, parameters: int) -> str:
    """Return the preset of the nearest size (as a ratio), in the student's own family if the paper has it.

    Args:
        family: transformers' model_type, e.g. "qwen2", "llama".
        parameters: number of parameters of the student.
    """
    own = [name for name, preset in PRESETS.items() if family.startswith(preset.family)]
    return min(own or PRESETS, key=lambda name: abs(math.log(PRESETS[name].parameters / parameters)))


def describe(name: str, chosen: bool, family: str, parameters: int) -> str:
    """Return a line for the screen: a student's preset, its source, why it was chosen, and a large size difference."""
    preset = PRESETS[name]
    ratio = parameters / preset.parameters
    why = (
        "named by the recipe"
        if chosen
        else f"the nearest {preset.family} in size to {_size(parameters)} ({family})"
    )
    if ratio > FAR or ratio < 1 / FAR:
        times = f"{ratio:,.0f} times larger" if ratio > 1 else f"{1 / ratio:,.0f} times smaller"
        why += f", yet the student is {times}: take the rate for a first guess, optimizer.lr sets another"
    return f"preset {name}: lr {preset.lr:g} as for {preset.base} ({SOURCE}); {why}"


def _size(parameters: int) -> str:
    return f"{parameters / 1e9:.2f} B" if parameters >= 1e9 else f"{parameters / 1e6:,.1f} M"
