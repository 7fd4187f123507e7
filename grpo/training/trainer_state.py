"""The learner's files in a checkpoint: safetensors and JSON, no pickle.

policy/                  config, float32 weights, tokenizer: loads in transformers and vLLM
adapter/                 in its place with policy.lora: the adapters alone, as peft reads them
optimizer.safetensors    AdamW's moments
reference.safetensors    π_ref, if the recipe has one
trainer.json             AdamW's step count
head.safetensors         what is trained beside the policy, such as a scalar head, if there is such
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
    """What a continuation needs beside the weights."""

    moments: dict[str, Tensor]
    optimizer_steps: int
    reference: dict[str, Tensor] | None


def save(
    folder: Path, moments: Mapping[str, Tensor], optimizer_steps: int, reference: Mapping[str, Tensor] | None
) -> None:
    """Write moments, reference and count into an existing folder."""
    save_file({name: t.detach().cpu() for name, t in moments.items()}, folder / OPTIMIZER)
    if reference is not None:
        save_file(dict(reference), folder / REFERENCE)
    (folder / TRAINER).write_text(json.dumps({"optimizer_steps": optimizer_steps}) + "\n", encoding="utf-8")


def load(folder: Path, with_reference: bool) -> tuple[dict[str, Tensor], TrainerState]:
    """Weights under Hugging Face names (none of a policy with adapters), and the rest.

    Raises:
        BrokenRun: names the file.
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
    """What `save_head` wrote.

    Raises:
        BrokenRun: names the file.
    """
    try:
        return load_file(folder / HEAD)
    except (OSError, SafetensorError) as error:
        raise broken(folder, error) from error


def broken(folder: Path, error: Exception) -> BrokenRun:
    """The error to raise for a checkpoint that cannot be taken over."""
    return BrokenRun(f"{folder}: cannot go on from this checkpoint ({error})")
