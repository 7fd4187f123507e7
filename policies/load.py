"""Loads a policy from a model folder and saves it. Safetensors only; the modelling code is transformers' own.

model = load_policy(folder)                       float32 master weights, packed attention, eval mode
save_policy(model, out_dir, tokenizer_from=folder)
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any  # of transformers' classes

import torch
from torch import Tensor, nn

from policies import attention
from policies.errors import BrokenCheckpoint
from policies.facts import read_facts
from policies.files import replace_folder, sync_tree
from policies.lora import plain_state
from policies.model import HfModel
from policies.mtp import shared_copies
from policies.router import route_in_float32
from policies.shards import gathered

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)


def load_policy(folder: Path | str, *, device: torch.device | str = "cpu") -> nn.Module:
    """Load a float32 model in eval mode with attention "grpo_packed"; every tensor comes from the folder.

    Its routers compute in float32 under autocast too.

    Raises:
        UnsupportedArchitecture, BrokenCheckpoint: as `read_facts`; also if a tensor is missing, unexpected, or of
            another shape than the config says.
    """
    facts = read_facts(folder, need_tokenizer=False)
    from transformers.utils import logging

    attention.register()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        loaded: HfModel = _model_class(facts.mtp_layers).from_pretrained(
            facts.folder,
            dtype=torch.float32,
            attn_implementation=attention.NAME,
            experts_implementation="eager",
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            # Reported below with their names; transformers' error has none.
            ignore_mismatched_sizes=True,
        )
    except (RuntimeError, KeyError, ValueError) as error:
        raise BrokenCheckpoint(f"{facts.folder}: does not load ({error})") from error
    model, report = loaded
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = sorted(map(str, report.get(problem) or ()))
        if names:
            raise BrokenCheckpoint(
                f"{facts.folder}: {problem.removesuffix('_keys')} tensors: {', '.join(names[:3])}"
                f"{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
            )
    if not facts.mtp_layers and hasattr(model.config, "num_nextn_predict_layers"):
        model.config.num_nextn_predict_layers = 0  # the config declares layers whose weights are missing
    route_in_float32(model)
    policy: nn.Module = model.to(device).eval()
    return policy


def _model_class(mtp_layers: int) -> Any:
    """Return the class that loads policies: transformers' own unless there are MTP layers, which that leaves out."""
    if mtp_layers:
        from policies.deepseek_mtp import DeepseekV3ForCausalLM

        return DeepseekV3ForCausalLM
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM


def save_policy(
    model: nn.Module, out_dir: Path | str, tokenizer_from: Path | str | None, *, writes: bool = True
) -> Path:
    """Write weights, config and tokenizer for transformers and vLLM; either all files appear or none.

    The files are written into a temporary folder next to `out_dir`, which is then renamed; it replaces an earlier
    `out_dir`.

    Args:
        model: a policy. LoRA adapters are merged into the written weights; layers of multi-token prediction are
            written with their copies of embedding and head, as in published checkpoints.
        out_dir: the folder to create.
        tokenizer_from: folder whose tokenizer files are copied; None copies none.
        writes: False on a rank of a divided policy that only takes part in gathering; one rank writes.

    Returns:
        `out_dir`.
    """
    out_dir = Path(out_dir)
    state = _state(model, writes)
    if not writes:
        return out_dir
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", dir=out_dir.parent))
    try:
        _write(model, state, building, tokenizer_from)
        building.chmod(0o755)
        sync_tree(building)
        replace_folder(building, out_dir)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return out_dir


def _state(model: nn.Module, keep: bool) -> dict[str, Tensor]:
    """Return all tensors of a checkpoint, whole; a tied head is its embedding. Empty where `keep` is False."""
    state = gathered(plain_state(model), keep)
    first: dict[int, str] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        original = first.setdefault(id(tensor), name)
        if original != name and keep:
            state[name] = state[original]
    return state | gathered(shared_copies(model), keep)


def _write(model: HfModel, state: dict[str, Tensor], folder: Path, tokenizer_from: Path | str | None) -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model.save_pretrained(folder, state_dict=state)
    if tokenizer_from is not None:
        for name in TOKENIZER_FILES:
            if (source := Path(tokenizer_from) / name).is_file():
                shutil.copyfile(source, folder / name)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors makes its files readable for the owner only
