"""From a name in [algorithm] to the function behind it: a built-in of `FORMS`, or one of the user's.

    load_named(config, "policy_loss")     the function, with algorithm.policy_loss_params bound to it
    advantage_estimator(config)           the same for the key that the driver needs
    with_absolute_paths(config, folder)   for workers with another working directory

Nothing here imports torch: a built-in is imported when it is asked for, and the driver asks for the advantage alone.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any  # Any: a function of whichever kind the key names

from grpo.algorithm.advantages import AdvantageEstimator
from grpo.common.errors import ConfigError
from grpo.config.algorithm import FORMS, OPEN_KEYS, AlgorithmConfig, is_builtin
from policies.json_types import JsonMapping
from rewards.errors import RewardLoadError
from rewards.registry import load_function, with_absolute_path

ARGUMENTS = {
    "advantage": ("rewards",),
    "policy_loss": ("batch",),
    "kl_estimator": ("logprobs", "ref_logprobs"),
}
"""What a function of the user's is called with, by position."""


def advantage_estimator(config: AlgorithmConfig) -> AdvantageEstimator:
    """The function behind algorithm.advantage.

    Raises:
        ConfigError: it cannot be loaded.
    """
    estimator: AdvantageEstimator = load_named(config, "advantage")
    return estimator


def load_named(config: AlgorithmConfig, key: str) -> Callable[..., Any]:
    """The function that a recipe names under `key`, with its parameters bound.

    Returns:
        A callable of the kind's contract; its type is the kind's, which a table of all kinds cannot say.

    Raises:
        ConfigError: names the key, what was found and what to change.
    """
    name: str = getattr(config, key)
    params: JsonMapping = getattr(config, f"{key}_params", {})
    if is_builtin(key, name):
        module, _, attribute = FORMS[key][name].partition(":")
        function = getattr(importlib.import_module(module), attribute)
    else:
        function = _load_own(key, name)
    if key in ARGUMENTS:
        _check_signature(key, name, function, params)
    return partial(function, **params) if params else function


def own_functions(config: AlgorithmConfig) -> list[str]:
    """Keys that name a function of the user's, or have parameters: what must be checked before a run starts."""
    return [
        key
        for key in OPEN_KEYS
        if not is_builtin(key, getattr(config, key)) or getattr(config, f"{key}_params")
    ]


def with_absolute_paths(config: AlgorithmConfig, base: Path) -> AlgorithmConfig:
    """The same with `path/file.py:function` made absolute from `base`."""
    names = {
        key: with_absolute_path(getattr(config, key), base)
        for key in OPEN_KEYS
        if not is_builtin(key, getattr(config, key))
    }
    return config.model_copy(update=names)


def describe_key(key: str, name: str) -> str:
    """How an error names a function."""
    return f"algorithm.{key} = {name!r}"


def _load_own(key: str, name: str) -> Callable[..., object]:
    try:
        function = load_function(name)
    except RewardLoadError as error:
        found = str(error).removeprefix(f"reward {name!r}: ")
        raise ConfigError(f"{describe_key(key, name)}: {found}") from error
    if inspect.isclass(function) or not callable(function):
        kind = f"the class {function.__name__}" if inspect.isclass(function) else type(function).__name__
        raise ConfigError(
            f"{describe_key(key, name)}: found {kind}, not a function; name a function that takes "
            f"({', '.join(ARGUMENTS[key])})"
        )
    checked: Callable[..., object] = function
    return checked


def _check_signature(key: str, name: str, function: Callable[..., object], params: JsonMapping) -> None:
    """Refuse a function that cannot be called with the contract's arguments and these parameters."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{describe_key(key, name)}: its parameters cannot be read ({error}); wrap it in a def"
        ) from error
    arguments = ARGUMENTS[key]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    by_keyword = {
        n
        for n, p in list(signature.parameters.items())[len(arguments) :]
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    unknown = sorted(set(params) - by_keyword)
    if unknown and not takes_any:
        raise ConfigError(
            f"{describe_key(key, name)} has no parameter {', '.join(unknown)}; algorithm.{key}_params may set: "
            f"{', '.join(sorted(by_keyword)) or 'none'}"
        )
    try:
        signature.bind(*arguments, **params)
    except TypeError as error:
        raise ConfigError(
            f"{describe_key(key, name)}: cannot call {name.rpartition(':')[2]}{signature} with "
            f"({', '.join(arguments)}): {error}; give further parameters a default or set them in "
            f"algorithm.{key}_params"
        ) from error
