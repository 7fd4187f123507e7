"""A policy's tokenizer without torch or transformers, so that the driver stays light.

tokenizer = load_tokenizer(folder)
tokenizer.decode(tokenizer.encode("7 * 4 + 3"))
tokenizer.apply_chat_template([{"role": "user", "content": "7 * 4?"}])
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from policies.errors import BrokenCheckpoint, MissingTokenizer, PolicyError
from policies.facts import TOKENIZER_FILE

_SPECIALS = ("bos_token", "eos_token", "pad_token", "unk_token")


class Tokenizer:
    """Text ↔ token ids. Cheap to make, safe to pickle by its folder."""

    def __init__(self, folder: Path, backend: Any, config: Mapping[str, Any], stop_ids: Iterable[int]):
        self.folder = folder
        self._backend = backend
        self._config = config
        self.special_tokens: dict[str, str] = {
            name: _content(config[name]) for name in _SPECIALS if config.get(name) is not None
        }
        """bos_token, eos_token, pad_token, unk_token, as far as there are such."""
        eos = self.eos_id
        self.stop_token_ids: tuple[int, ...] = tuple(
            sorted(set(stop_ids) | (set() if eos is None else {eos}))
        )
        """Tokens that end a reply: the end-of-sequence token and those that generation_config.json adds."""

    def __reduce__(self) -> tuple[Any, ...]:
        return load_tokenizer, (self.folder,)

    def __len__(self) -> int:
        return self._backend.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Token ids; special tokens written out in the text are recognised, none is added unless asked."""
        return self._backend.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Text of the ids."""
        return self._backend.decode([int(i) for i in ids], skip_special_tokens=skip_special)

    def token_id(self, token: str) -> int | None:
        """Id of one token as the vocabulary spells it."""
        return self._backend.token_to_id(token)

    @property
    def bos_id(self) -> int | None:
        """Id of the begin-of-sequence token."""
        return self._special_id("bos_token")

    @property
    def eos_id(self) -> int | None:
        """Id of the end-of-sequence token."""
        return self._special_id("eos_token")

    @property
    def pad_id(self) -> int | None:
        """Id of the padding token."""
        return self._special_id("pad_token")

    @property
    def has_chat_template(self) -> bool:
        """True if the folder has one."""
        return bool(self._template_text)

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True, **variables: Any
    ) -> str:
        """The conversation as the policy reads it, by the folder's own template.

        Raises:
            PolicyError: no template, or the template refuses the messages.
        """
        if not self.has_chat_template:
            raise PolicyError(
                f"{self.folder}: no chat template (chat_template.jinja or tokenizer_config.json)"
            )
        from jinja2 import TemplateError

        from policies.chat_template import render

        try:
            return render(
                self._template,
                messages,
                add_generation_prompt=add_generation_prompt,
                **{**self.special_tokens, **variables},
            )
        except TemplateError as error:
            raise PolicyError(f"{self.folder}: the chat template refuses these messages: {error}") from error

    def _special_id(self, name: str) -> int | None:
        token = self.special_tokens.get(name)
        return None if token is None else self._backend.token_to_id(token)

    @property
    def _template_text(self) -> str:
        file = self.folder / "chat_template.jinja"
        if file.is_file():
            return file.read_text(encoding="utf-8")
        template = self._config.get("chat_template") or ""
        if isinstance(template, list):
            template = next((t["template"] for t in template if t.get("name") == "default"), "")
        return template

    @cached_property
    def _template(self) -> Any:
        from policies.chat_template import compile_template

        return compile_template(self._template_text)


def load_tokenizer(folder: Path | str) -> Tokenizer:
    """The folder's tokenizer.

    Raises:
        MissingTokenizer: no tokenizer.json.
        BrokenCheckpoint: one that cannot be read.
    """
    from tokenizers import Tokenizer as Backend

    folder = Path(folder)
    file = folder / TOKENIZER_FILE
    if not file.is_file():
        raise MissingTokenizer(f"{folder}: no {TOKENIZER_FILE}")
    try:
        backend = Backend.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise BrokenCheckpoint(f"{file}: not a tokenizer ({error})") from error
    backend.no_padding()
    backend.no_truncation()
    config = _optional_json(folder / "tokenizer_config.json")
    eos = _optional_json(folder / "generation_config.json").get("eos_token_id")
    if eos is None:
        eos = _optional_json(folder / "config.json").get("eos_token_id")
    stop_ids = [] if eos is None else eos if isinstance(eos, list) else [eos]
    return Tokenizer(folder, backend, config, stop_ids)


def _optional_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BrokenCheckpoint(f"{file}: not valid JSON ({error})") from error


def _content(token: Any) -> str:
    return token["content"] if isinstance(token, dict) else token
