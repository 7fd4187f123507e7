"""The learner's files in a checkpoint: safetensors and JSON, no pickle.

policy/                  config, float32 weights, tokenizer: loads in transformers and vLLM
policy-….safetensors     instead, with several ranks: each one's part of the weights (grpo/training/shard_files.py)
adapter/                 instead of policy/ with policy.lora: the adapters alone, as peft reads them
optimizer.safetensors    AdamW's moments; with several ranks one file each (grpo/training/shard_files.py)
reference.safetensors    π_ref, if the recipe has one; likewise
trainer.json             AdamW's step count
head.safetensors         a module trained beside the policy, such as a reward model's scalar head, if there is one
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from grpo.common.errors import BrokenRun

POLICY, ADAPTER, OPTIMIZER, REFERENCE, TRAINER, HEAD = (
    "policy",
    "adapter",
    "optimizer",
    "reference",
    "trainer.json",
    "head.safetensors",
)
"""Names in a checkpoint; those of optimizer and reference are the stems of their files."""


def save_steps(folder: Path, optimizer_steps: int) -> None:
    """Write the number of updates into an existing folder."""
    (folder / TRAINER).write_text(json.dumps({"optimizer_steps": optimizer_steps}) + "\n", encoding="utf-8")


def load_steps(folder: Path) -> int:
    """Read what `save_steps` wrote.

    Raises:
        BrokenRun: the file is missing or damaged; names it.
    """
    try:
        return int(json.loads((folder / TRAINER).read_text(encoding="utf-8"))["optimizer_steps"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise broken(folder, error) from error


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
