"""The learner's files in a checkpoint: safetensors and JSON, no pickle.

policy/                  config, float32 weights, tokenizer: loads in transformers and vLLM
adapter/                 instead of policy/ with policy.lora: the adapters alone, as peft reads them
optimizer.safetensors    AdamW's moments
reference.safetensors    π_ref, if the recipe has one
trainer.json             AdamW's step count
head.safetensors         a module trained beside the policy, such as a reward model's scalar head, if there is one
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from grpo.common.errors import BrokenRun

POLICY, ADAPTER, OPTIMIZER, REFERENCE, TRAINER, HEAD = (
    "policy",
    "adapter",
    "optimizer.safetensors",
    "reference.safetensors",
    "trainer.json",
    "head.safetensors",
)


@dataclass(frozen=True)
class TrainerState:
    """The state beside the weights that training needs to go on."""

    moments: dict[str, Tensor]
    optimizer_steps: int
    reference: dict[str, Tensor] | None


def save(
    folder: Path, moments: Mapping[str, Tensor], optimizer_steps: int, reference: Mapping[str, Tensor] | None
) -> None:
    """Write moments, reference and number of updates into an existing folder."""
    save_file({name: t.detach().cpu() for name, t in moments.items()}, folder / OPTIMIZER)
    if reference is not None:
        save_file(dict(reference), folder / REFERENCE)
    (folder / TRAINER).write_text(json.dumps({"optimizer_steps": optimizer_steps}) + "\n", encoding="utf-8")


def load(folder: Path, with_reference: bool) -> tuple[dict[str, Tensor], TrainerState]:
    """Read what `save` wrote.

    Returns:
        Weights under Hugging Face names (empty for a policy with adapters), and the other state.

    Raises:
        BrokenRun: a file is missing or damaged; names it.
    """
    try:
        weights: dict[str, Tensor] = {}
        for file in sorted((folder / POLICY).glob("*.safetensors")):
            weights |= load_file(file)
        moments = load_file(folder / OPTIMIZER)
        reference = load_file(folder / REFERENCE) if with_reference else None
        steps = int(json.loads((folder / TRAINER).read_text(encoding="utf-8"))["optimizer_steps"])
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise broken(folder, error) from error
    return weights, TrainerState(moments, steps, reference)


def save_head(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a head's tensors into an existing folder."""
    save_file({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, folder / HEAD)


def load_head(folder: Path) -> dict[str, Tensor]:
    """Read what `save_head` wrote.

    Raises:
        BrokenRun: the file is missing or damaged; names it.
    """
    try:
        return load_file(folder / HEAD)
    except (OSError, SafetensorError) as error:
        raise broken(folder, error) from error


def broken(folder: Path, error: Exception) -> BrokenRun:
    """Make the error for a checkpoint that cannot be loaded."""
    return BrokenRun(f"{folder}: cannot go on from this checkpoint ({error})")
