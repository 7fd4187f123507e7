"""A policy's tokenizer without torch or transformers, so that the driver loads neither.

tokenizer = load_tokenizer(folder)
tokenizer.decode(tokenizer.encode("7 * 4 + 3"))
tokenizer.apply_chat_template([{"role": "user", "content": "7 * 4?"}])
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING  # Any: JSON trees and template variables

from policies.errors import BrokenCheckpoint, MissingTokenizer, PolicyError
from policies.facts import TOKENIZER_FILE
from policies.files import NOT_FETCHED, is_lfs_pointer
from policies.json_types import JsonDict, JsonMapping

if TYPE_CHECKING:
    from jinja2 import Template
    from tokenizers import Tokenizer as Backend

_SPECIALS = ("bos_token", "eos_token", "pad_token", "unk_token")


class Tokenizer:
    """Converts text to token ids and back. It is pickled as its folder's path."""

    def __init__(self, folder: Path, backend: Backend, config: JsonMapping, stop_ids: Iterable[int]):
        self.folder = folder
        self._backend = backend
        self._config = config
        self.special_tokens: dict[str, str] = {
            name: _content(config[name]) for name in _SPECIALS if config.get(name) is not None
        }
        """The special tokens that exist, by name: bos_token, eos_token, pad_token, unk_token."""
        eos = self.eos_id
        self.stop_token_ids: tuple[int, ...] = tuple(
            sorted(set(stop_ids) | (set() if eos is None else {eos}))
        )
        """Tokens that end a reply: the end-of-sequence token and those that generation_config.json adds."""

    def __reduce__(self) -> tuple[Callable[[Path], Tokenizer], tuple[Path]]:
        return load_tokenizer, (self.folder,)

    def __len__(self) -> int:
        return self._backend.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Return token ids; special tokens in the text are recognised, and none is added by default."""
        return self._backend.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Return the text of token ids."""
        return self._backend.decode([int(i) for i in ids], skip_special_tokens=skip_special)

    def decode_reply(self, ids: Sequence[int], stop_ids: Iterable[int] = ()) -> str:
        """Return the text of generated tokens as a reader sees it.

        Special tokens that are part of the text (`<think>`, `</answer>`, a role's name) are written out. Those that
        only mark its borders are left out: begin, end, padding and unknown token, and special tokens among `stop_ids`.
        """
        hidden = self._borders | (self._special_ids & set(stop_ids))
        return self.decode([i for i in ids if i not in hidden], skip_special=False)

    def pieces_of(self, text: str, token_id: int) -> list[str]:
        """Return the pieces of a text that become this token; of the unknown token, what the vocabulary lacks."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        return [text[start:end] for i, (start, end) in spans if i == token_id]

    def token_id(self, token: str) -> int | None:
        """Return the id of one token of the vocabulary, or None."""
        return self._backend.token_to_id(token)

    @property
    def bos_id(self) -> int | None:
        """The id of the begin-of-sequence token, or None."""
        return self._special_id("bos_token")

    @property
    def eos_id(self) -> int | None:
        """The id of the end-of-sequence token, or None."""
        return self._special_id("eos_token")

    @property
    def pad_id(self) -> int | None:
        """The id of the padding token, or None."""
        return self._special_id("pad_token")

    @property
    def has_chat_template(self) -> bool:
        """True if the folder has a chat template."""
        return bool(self.chat_template)

    def apply_chat_template(
        self, messages: Sequence[JsonMapping], *, add_generation_prompt: bool = True, **variables: object
    ) -> str:
        """Return the conversation as text, rendered with the folder's chat template.

        Raises:
            PolicyError: there is no template, or it rejects the messages.
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
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            # Also what the template's own code runs into: a null where it adds texts, a key that is not there.
            raise PolicyError(f"{self.folder}: the chat template rejects these messages: {error}") from error

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        added = self._backend.get_added_tokens_decoder()
        return frozenset(number for number, token in added.items() if token.special)

    @cached_property
    def _borders(self) -> frozenset[int]:
        named = {self._special_id(name) for name in _SPECIALS}
        return self._special_ids & {*named, *self.stop_token_ids}

    @cached_property
    def template_variables(self) -> frozenset[str]:
        """Names of the variables that the chat template reads, e.g. messages, tools, enable_thinking."""
        from policies.chat_template import variables_of

        return variables_of(self.chat_template)

    def _special_id(self, name: str) -> int | None:
        token = self.special_tokens.get(name)
        return None if token is None else self._backend.token_to_id(token)

    @property
    def chat_template(self) -> str:
        """The folder's chat template as Jinja text; empty if there is none."""
        file = self.folder / "chat_template.jinja"
        if file.is_file():
            return file.read_text(encoding="utf-8")
        template = self._config.get("chat_template") or ""
        if isinstance(template, list):
            template = next((t["template"] for t in template if t.get("name") == "default"), "")
        return str(template)

    @cached_property
    def _template(self) -> Template:
        from policies.chat_template import compile_template

        return compile_template(self.chat_template)


def load_tokenizer(folder: Path | str) -> Tokenizer:
    """Load a model folder's tokenizer.

    Raises:
        MissingTokenizer: there is no tokenizer.json.
        BrokenCheckpoint: a file cannot be read.
    """
    from tokenizers import Tokenizer as Backend

    folder = Path(folder)
    file = folder / TOKENIZER_FILE
    if not file.is_file():
        raise MissingTokenizer(f"{folder}: no {TOKENIZER_FILE}")
    if is_lfs_pointer(file):
        raise BrokenCheckpoint(f"{file}: {NOT_FETCHED}")
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


def _optional_json(file: Path) -> JsonDict:
    if not file.is_file():
        return {}
    try:
        content: JsonDict = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BrokenCheckpoint(f"{file}: not valid JSON ({error})") from error
    return content


def _content(token: str | Mapping[str, str]) -> str:
    """Return a special token's text: configs hold it as text, or as an object with its settings."""
    return token if isinstance(token, str) else token["content"]
