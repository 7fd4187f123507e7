"""Makes the language models ready that a stage's sections `llm` name, before anything else starts.

    with served(config) as ready:            # every `policy` replaced by the address of its server
        start_samplers(ready, …)

A policy is served by `grpo serve` beside the stage: through the engine's own settings, once for all sections that name
it, and not once for each process that asks. Its name at the server holds the digest of its files, so that the answers
of another policy at the same path are never taken for its own. The stage keeps `config` for what it records.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar  # Any: values of a config

from pydantic import BaseModel
from rich.markup import escape

from grpo.common.console import say
from grpo.common.errors import ConfigError
from grpo.common.own_server import own_server
from grpo.common.policy_folder import find_policy, policy_name
from policies.digests import digest_file, digest_json
from policies.json_types import JsonDict
from rewards.llm.config import LlmConfig
from rewards.llm.errors import LlmError

ConfigT = TypeVar("ConfigT", bound=BaseModel)


@contextmanager
def served(config: ConfigT) -> Iterator[ConfigT]:
    """Serve the policies that sections `llm` name while the block runs, and check that every server answers.

    Raises:
        ConfigError: a server does not answer, or offers another model; one policy is to be served in two ways.
        RunError: a policy's server does not start.
    """
    sections = list(sections_of(config))
    ways: dict[str, tuple[str, ...]] = {}
    for section in sections:
        if section.policy is not None and ways.setdefault(section.policy, section.serve) != section.serve:
            raise ConfigError(
                f"llm.policy = {section.policy!r} has two different llm.serve; give it the same"
            )
    with ExitStack() as servers:
        places: dict[str, JsonDict] = {}
        for policy, options in ways.items():
            folder = find_policy(policy)
            name = served_name(folder)
            say(f"  serving {escape(str(folder))} as {escape(name)}, to judge")
            url = servers.enter_context(own_server(folder, ["--name", name, *options]))
            places[policy] = {"url": url, "policy": None, "serve": (), "model": name}
        ready = _replaced(config, places)
        for section in sections_of(ready):
            check_server(section)
        yield ready


def served_name(folder: Path) -> str:
    """Return the name that a policy is served under: its run's, and a digest of its files."""
    files = {path.name: digest_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
    return f"{policy_name(folder)}-{digest_json(files)}"


def check_server(section: LlmConfig) -> None:
    """Check that the server answers and offers the model.

    Raises:
        ConfigError: it does not.
    """
    from rewards.llm.client import Llm

    try:
        with Llm(section) as llm:
            llm.check()
    except LlmError as error:
        raise ConfigError(f"llm: {error}") from error


def sections_of(value: object) -> Iterator[LlmConfig]:
    """Yield every section `llm` below a config, in the order of its keys."""
    if isinstance(value, LlmConfig):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from sections_of(getattr(value, name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from sections_of(item)


def _replaced(value: Any, places: dict[str, JsonDict]) -> Any:
    if isinstance(value, LlmConfig):
        # Actors may have another working directory than the driver, whose paths the recipe means.
        own = {} if value.policy is None else places[value.policy]
        return value.model_copy(update={**own, "cache": value.cache.absolute()})
    if isinstance(value, BaseModel):
        old = {name: getattr(value, name) for name in type(value).model_fields}
        new = {name: _replaced(item, places) for name, item in old.items()}
        changed = {name: item for name, item in new.items() if item is not old[name]}
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, tuple | list):
        items = [_replaced(item, places) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else type(value)(items)
    return value
