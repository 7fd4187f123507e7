"""What the toolkit must know of a model family. The modelling code is transformers' and vLLM's own.

A family is a file in this folder that sets `FAMILY`. It says what transformers and vLLM compute in the same way: a
value of config.json that one of them ignores, or reads otherwise, is refused by name before anything starts. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ConfigJson = Mapping[str, Any]
"""Content of a config.json. Any: a check looks at each value that it uses."""
Fields = dict[str, Any]
"""Fields of a config.json. Any: numbers, texts, lists."""
Problems = Callable[[ConfigJson], Iterator[str]]


def no_problems(config: ConfigJson) -> Iterator[str]:
    """Yield nothing: every value of the config is supported."""
    return iter(())


def no_overrides(config: ConfigJson) -> Fields:
    """Return nothing: vLLM reads the config as transformers does."""
    return {}


@dataclass(frozen=True)
class Family:
    """A model family: names, the shapes of its tensors, and what is not supported of it."""

    name: str
    """transformers' model_type, e.g. "deepseek_v3"."""
    architecture: str
    """Class name in config.json, e.g. "DeepseekV3ForCausalLM"."""
    attention: Literal["grouped", "mla"] = "grouped"
    """Keys and values per head (MHA, GQA), or a latent that all heads share."""
    qkv_bias: bool = False
    """Queries, keys and values have a bias, whatever `attention_bias` says."""
    qk_norm: bool = False
    """Queries and keys are normalised per head."""
    mlp_bias: bool = False
    """`mlp_bias` of the config counts."""
    router: Literal["softmax", "sigmoid"] | None = None
    """Score of the experts; sigmoid has a correction bias beside the weights. None: no routed experts."""
    gguf: str | None = None
    """gguf's name of the architecture; None if llama.cpp has none."""
    problems: Problems = no_problems
    """Yields a line for every value of a config that transformers and vLLM do not compute alike."""
    engine_overrides: Callable[[ConfigJson], Fields] = no_overrides
    """Returns keys of the config that vLLM needs and a config may leave out, or that vLLM reads otherwise."""
    presets: Mapping[str, Fields] = field(default_factory=dict)
    """Small policies by name: fields of transformers' config."""
