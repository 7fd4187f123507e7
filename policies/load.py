"""Loads a policy from a model folder. Safetensors only; the modelling code is transformers' own.

    model = load_policy(folder)                       float32 master weights, packed attention, eval mode
    model = blank_policy(folder)                      the same without memory: every tensor on the meta device
    fill_policy(model, folder, device)                … which is then read, of a divided tensor this rank's part alone

Each tensor is read by slices straight to its place, so loading needs the policy's memory and a few MiB.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from policies import attention, experts
from policies.errors import BrokenCheckpoint
from policies.facts import PolicyFacts, read_facts, stored_tensors
from policies.hf_pieces import pieces, stored_shape
from policies.lora import own_name
from policies.model import HfModel, tied_names
from policies.router import route_in_float32
from policies.shards import local
from policies.tensor_files import Piece, PieceReader, own_region, whole_region

_OLD_BUFFERS = (r"rotary_emb\.inv_freq$",)
"""Buffers in old checkpoints that the config determines."""


def load_policy(folder: Path | str, *, device: torch.device | str = "cpu") -> nn.Module:
    """Load a float32 model in eval mode with attention "grpo_packed"; every tensor comes from the folder.

    Its routers compute in float32 under autocast too.

    Raises:
        UnsupportedArchitecture, BrokenCheckpoint: as `read_facts`; also if a tensor is missing, unexpected, or of
            another shape than the config says.
    """
    model = blank_policy(folder)
    fill_policy(model, folder, device)
    return model


def blank_policy(folder: Path | str) -> nn.Module:
    """Make the model of `load_policy` with parameters that have no memory yet, after a look at the files' headers.

    Raises:
        UnsupportedArchitecture, BrokenCheckpoint: as `load_policy`.
    """
    facts = read_facts(folder, need_tokenizer=False)
    from transformers import AutoConfig, GenerationConfig
    from transformers.utils import logging

    attention.register()
    experts.register()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        config = AutoConfig.from_pretrained(facts.folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model: HfModel = _maker(facts.mtp_layers)(
                config,
                dtype=torch.float32,
                attn_implementation=attention.NAME,
                experts_implementation=experts.NAME,
            )
        if (facts.folder / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(facts.folder)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise BrokenCheckpoint(f"{facts.folder}: does not load ({error})") from error
    _make_buffers(model)
    _check_tensors(model, facts)
    if not facts.mtp_layers and hasattr(model.config, "num_nextn_predict_layers"):
        model.config.num_nextn_predict_layers = 0  # the config declares layers whose weights are missing
    route_in_float32(model)
    policy: nn.Module = model.eval()
    return policy


def fill_policy(model: nn.Module, folder: Path | str, device: torch.device | str = "cpu") -> None:
    """Give every tensor of a blank policy memory on the device and read it; the tensor objects are new ones.

    Adapters get memory alone: `policies.lora.draw_adapters` makes their values. The policy may be divided over ranks;
    each reads its own parts.

    Raises:
        BrokenCheckpoint: a file cannot be read.
    """
    give_memory(model, device)
    read_policy(model, folder)


@torch.no_grad()
def read_policy(model: nn.Module, folder: Path | str) -> None:
    """Copy a folder's tensors into the live weights; adapters are left alone.

    Raises:
        BrokenCheckpoint: a tensor is missing or has another shape, then nothing has changed; or a file cannot be read.
    """
    folder = Path(folder)
    stored = stored_tensors(folder)
    _refuse(folder, _problems(model, {name: shape for name, (_, shape) in stored.items()}))
    reader = PieceReader()
    for name, tensor in own_tensors(model).items():
        source = name if all(key in stored for key, _ in pieces(name, tensor.shape)) else "lm_head.weight"
        parts = [Piece(stored[key][0], key, region) for key, region in pieces(source, tensor.shape)]
        reader.read(local(tensor), own_region(tensor), parts)
    _check_tied(model, folder, stored, reader)
    reader.close()


def give_memory(model: nn.Module, device: torch.device | str) -> None:
    """Move the model to a device; tensors on the meta device get memory there, with any values. Ties stay."""
    tied = tied_names(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}  # the first name of each
    sources = {name: names[id(model.get_parameter(name))] for name in tied}

    def place(tensor: Tensor) -> Tensor:
        return torch.empty_like(tensor, device=device) if tensor.is_meta else tensor.to(device)

    model._apply(place)  # type: ignore[no-untyped-call]
    for name, source in sources.items():
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, model.get_parameter(source))


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the live tensors that a checkpoint holds, by transformers' names; a tied one once."""
    tied = tied_names(model)
    state = model.state_dict(keep_vars=True)
    named = ((own_name(name), tensor) for name, tensor in state.items() if name not in tied)
    return {name: tensor for name, tensor in named if name is not None}


def _maker(mtp_layers: int) -> Callable[..., nn.Module]:
    """Return what makes a model from a config: transformers' own class unless there are MTP layers, which it lacks."""
    if mtp_layers:
        from policies.deepseek_mtp import DeepseekV3ForCausalLM

        return DeepseekV3ForCausalLM._from_config
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_config


def _make_buffers(model: HfModel) -> None:
    """Compute the buffers that no checkpoint holds, such as the frequencies of rotary embeddings."""
    persistent = model.state_dict().keys()
    for name, module in list(model.named_modules()):
        if any(
            f"{name}.{buffer}".lstrip(".") not in persistent
            for buffer, _ in module.named_buffers(recurse=False)
        ):
            owner, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, type(module)(model.config))


def _check_tensors(model: HfModel, facts: PolicyFacts) -> None:
    shapes = {name: shape for name, (_, shape) in stored_tensors(facts.folder).items()}
    _refuse(facts.folder, _problems(model, shapes))


def _problems(model: HfModel, shapes: dict[str, list[int]]) -> dict[str, list[str]]:
    """Return names of tensors that are missing, unexpected, or of another shape, by kind of problem."""
    expected: dict[str, tuple[int, ...]] = {}
    for name, tensor in own_tensors(model).items():
        expected |= {key: stored_shape(name, region) for key, region in pieces(name, tensor.shape)}
    tied = tied_names(model)
    embedding = "model.embed_tokens.weight"
    if tied and embedding not in shapes and "lm_head.weight" in shapes:
        expected["lm_head.weight"] = expected.pop(embedding)
    ignored = re.compile(
        "|".join(f"({p})" for p in (*(model._keys_to_ignore_on_load_unexpected or ()), *_OLD_BUFFERS))
    )
    return {
        "missing": sorted(expected.keys() - shapes.keys()),
        "unexpected": sorted(n for n in shapes.keys() - expected.keys() - tied if ignored.search(n) is None),
        "mismatched": [
            f"{name} has shape {tuple(shapes[name])}, the config says {shape}"
            for name, shape in sorted(expected.items())
            if name in shapes and tuple(shapes[name]) != shape
        ],
    }


def _refuse(folder: Path, problems: dict[str, list[str]]) -> None:
    for problem, names in problems.items():
        if names:
            raise BrokenCheckpoint(
                f"{folder}: {problem} tensors: {', '.join(names[:3])}"
                f"{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
            )


def _check_tied(
    model: nn.Module, folder: Path, stored: dict[str, tuple[Path, list[int]]], reader: PieceReader
) -> None:
    """Refuse a head of its own in the files of a policy whose head is the embedding: engines would drop it."""
    for name in tied_names(model) & stored.keys():
        (file, shape), kept = stored[name], model.get_parameter(name)
        head = torch.empty_like(local(kept))
        reader.read(head, own_region(kept), [Piece(file, name, whole_region(shape))])
        if not torch.equal(head, local(kept)):
            raise BrokenCheckpoint(
                f"{folder}: config.json says tie_word_embeddings, but {name} is not the embedding; "
                "set tie_word_embeddings to false there, or remove the tensor"
            )
