"""Turns a data set into prompts. The error of a row that cannot be used names file, line, field, value and a fix.

    prompts = load_prompts(config.data, load_tokenizer(folder))

A missing reference answer, a repeated question or a word that the tokenizer does not know is an error here, before an
engine starts, because training would continue silently with it.
"""

from __future__ import annotations

import logging
import re
from itertools import islice
from pathlib import Path

from data_recipes.bad_rows import BadRows
from data_recipes.config import DatasetConfig, source_kind
from data_recipes.errors import DataError
from data_recipes.prompts.rows import Row, read_rows, show
from data_recipes.templates import check_template, render
from policies.errors import PolicyError
from policies.json_types import JsonDict
from policies.tokenizer import Tokenizer
from rollout.types import Prompt, prompt_id

_THOUSANDS = re.compile(r"[-+]?\$?\d{1,3}(,\d{3})+(\.\d+)?")
logger = logging.getLogger(__name__)


def load_prompts(config: DatasetConfig, tokenizer: Tokenizer) -> list[Prompt]:
    """Read, check and render a whole data set.

    Args:
        config: the `[data]` section of a recipe.
        tokenizer: the policy's tokenizer.

    Returns:
        Prompts with different ids, in the data set's order. Their columns are "question" (raw) and the row's other
        fields.

    Raises:
        DataError: there is no prompt; or rows cannot be used and `bad_rows` is not "skip". The message names the first
            ones and their number.
    """
    prompts: list[Prompt] = []
    first_location: dict[str, str] = {}
    too_long = dropped = 0
    check_template(config.template, tokenizer, config.prefill)
    bad = BadRows()
    for where, row in islice(read_rows(config, on_bad=bad.add), config.limit):
        try:
            prompt = to_prompt(where, row, config, tokenizer)
        except DataError as error:
            bad.add(error)
            continue
        if config.max_prompt_tokens is not None and len(prompt.token_ids) > config.max_prompt_tokens:
            too_long += 1
        elif prompt.id not in first_location:
            first_location[prompt.id] = where
            prompts.append(prompt)
        elif config.duplicates == "drop":
            dropped += 1
        else:
            bad.add(
                DataError(
                    f"{where}: same {config.prompt_field} and answer as {first_location[prompt.id]}; "
                    'delete one, or set duplicates = "drop"'
                )
            )
    bad.settle(config.bad_rows, config.source)
    if too_long or dropped:
        logger.warning(
            "%s: left out %d prompts above %s tokens and %d duplicates, kept %d",
            config.source, too_long, config.max_prompt_tokens, dropped, len(prompts),
        )  # fmt: skip
    if not prompts:
        hint = "raise max_prompt_tokens" if too_long else "an empty data set trains nothing"
        left_out = f"{too_long} too long" + (f", {bad.count} bad rows" if bad.count else "")
        raise DataError(f"{config.source}: no prompts ({left_out}); {hint}")
    return prompts


def to_prompt(where: str, row: Row, config: DatasetConfig, tokenizer: Tokenizer) -> Prompt:
    """Check one row and render it.

    Raises:
        DataError: as `load_prompts`; the message begins with `where`.
    """
    question = _field(where, row, "prompt_field", config.prompt_field)
    if not isinstance(question, str) or not question.strip():
        raise DataError(
            f"{where}: {config.prompt_field} = {show(question)}; expected the question as text "
            "(another field: set prompt_field)"
        )
    answer = None if config.answer_field is None else _answer(where, row, config)
    try:
        rendered = render(
            config.template,
            question,
            tokenizer,
            system=config.system,
            prefill=config.prefill,
            preamble=config.preamble,
        )
    except (PolicyError, DataError) as error:  # the chat template rejects the messages
        raise DataError(f"{where}: {error}") from error
    token_ids = tuple(tokenizer.encode(rendered.text, add_special_tokens=rendered.add_special_tokens))
    check_known(where, rendered.text, token_ids, tokenizer)
    source = Path(config.source).name if source_kind(config.source) == "file" else config.source
    return Prompt(
        id=prompt_id(source, rendered.text, answer),
        text=rendered.text,
        token_ids=token_ids,
        answer=answer,
        columns=_columns(where, row, question, config),
        source=source,
        prefill=rendered.prefill,
    )


def _answer(where: str, row: Row, config: DatasetConfig) -> object:
    name = config.answer_field
    assert name is not None
    value = _field(where, row, "answer_field", name)
    if value is None or value == "" or value == [] or (isinstance(value, str) and not value.strip()):
        raise DataError(
            f"{where}: {name} = {show(value)}: no reference answer; add it, delete the row, or set "
            "answer_field = false in a recipe whose rewards need none"
        )
    if not isinstance(value, str | int | float | list) or value != value:  # NaN
        raise DataError(f"{where}: {name} = {show(value)}: expected text, a number or a list")
    if config.answer_pattern is None:
        return value
    if not isinstance(value, str):
        raise DataError(f"{where}: {name} = {show(value)}: answer_pattern needs text")
    match = re.search(config.answer_pattern, value)
    if match is None or not (match.group(1) or "").strip():
        raise DataError(
            f"{where}: {name}: answer_pattern {config.answer_pattern!r} finds nothing in {show(value[-80:])}"
        )
    return strip_thousands(match.group(1).strip())


def strip_thousands(text: str) -> str:
    """Remove the thousands separators of a number ("1,080" → "1080"); other texts stay as they are."""
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def _columns(where: str, row: Row, question: str, config: DatasetConfig) -> JsonDict:
    taken = {config.prompt_field, config.answer_field, *config.columns.values()}
    columns = {name: value for name, value in row.items() if name not in taken}
    columns.setdefault("question", question)
    for new, field in config.columns.items():
        columns[new] = _field(where, row, f"columns.{new}", field)
    for name, value in config.constants.items():
        if name in columns:
            raise DataError(f"{where}: already has {name} = {show(columns[name])}; remove constants.{name}")
        columns[name] = value
    return columns


def _field(where: str, row: Row, key: str, name: str) -> object:
    if name not in row:
        raise DataError(
            f"{where}: no field {name!r}; there are {', '.join(map(str, row))} (set {key} to one)"
        )
    return row[name]


def check_known(where: str, text: str, token_ids: tuple[int, ...], tokenizer: Tokenizer) -> None:
    """Check that the tokenizer knows a whole text.

    Raises:
        DataError: there is no token, or the unknown token is among them.
    """
    if not token_ids:
        raise DataError(f"{where}: the prompt has no tokens")
    unknown = tokenizer.special_tokens.get("unk_token")
    others = {token for name, token in tokenizer.special_tokens.items() if name != "unk_token"}
    # Several tokenizers declare their end-of-text token as the unknown token and never use it as such.
    if unknown is None or unknown in others or unknown in text:
        return
    if tokenizer.token_id(unknown) in token_ids:
        raise DataError(
            f"{where}: the tokenizer of {tokenizer.folder} does not know all of {show(text[-80:])}; "
            "the policy would read <unk>: choose a policy with a larger vocabulary"
        )
