"""Recognises how a reward function is called by the names of its parameters.

    native   reward(batch)                                                   one call, a list back
    row      reward(row)                                                     one call a completion
    TRL      reward(prompts, completions, completion_ids, **columns)         any subset, one call, a list back;
             strings, or messages for a function that reads completion[0]["content"]
    verl     compute_score(data_source, solution_str, ground_truth, extra_info=None)      one call a completion

The function may be a plain function, a callable object, a class (made with `params`), a bound method, a
`functools.partial`; it may be async.
"""

from __future__ import annotations

import inspect
import itertools
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal  # Any: a function of the user

from policies.json_types import JsonDict, JsonMapping
from rewards.errors import RewardLoadError
from rewards.rows import RewardRow, to_batch
from rewards.types import NO_NEEDS, Needs, Score
from rewards.values import WrongLength, as_score, as_scores, failed

Style = Literal["native", "row", "trl", "verl"]

_TRL_NAMES = frozenset({"prompts", "completions", "completion_ids"})
_MESSAGE_ROLES = {"prompts": "user", "completions": "assistant"}
_MESSAGES_WANTED = ("string indices must be integers", "'str' object has no attribute 'get'")
_VERL_NAMES = frozenset({"data_source", "solution_str", "ground_truth", "extra_info"})
_TRL_GIVEN = _TRL_NAMES | {"answer", "trainer_state", "log_extra", "log_metric"}
"""What a TRL function gets whatever the data's columns are."""
_ACCEPTED = (
    "accepted are reward(batch), reward(row), TRL's reward(prompts, completions, completion_ids, **columns) with "
    "any subset of its arguments, and verl's compute_score(data_source, solution_str, ground_truth, extra_info=None)"
)


MAX_TRACE = 4000
"""Characters of a traceback that are kept, from its end."""
_HERE = os.path.dirname(__file__)


@dataclass(frozen=True)
class RewardFunction:
    """A loaded reward, ready to be called."""

    name: str
    style: Style
    call: Callable[..., Any]
    accepts: frozenset[str]
    """Parameter names that may be passed by keyword."""
    takes_any: bool
    """True if it has **kwargs."""
    needs_ids: bool
    needs: Needs = NO_NEEDS
    close: Callable[[], None] | None = None
    """Ends what a call waits for, from any thread; an object's method `close`."""
    learnt: dict[str, bool] = field(default_factory=dict)
    """`messages`: a TRL function has shown that it reads conversations."""

    @property
    def is_row_wise(self) -> bool:
        """True if it is called once a completion, so that one failing row costs no other."""
        return self.style in ("row", "verl")


def recognise(name: str, target: object, params: JsonMapping) -> RewardFunction:
    """Bind `params` to `target` and find out how it is called.

    Raises:
        RewardLoadError: not callable, a parameter it does not have, or a signature that is none of ours.
    """
    if inspect.isclass(target):
        target, params = _construct(name, target, params), {}
    if not callable(target):
        raise RewardLoadError(f"reward {name!r}: found {type(target).__name__}, not a function")
    signature = _signature(name, target)
    parameters = signature.parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    by_keyword = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    unknown = sorted(set(params) - set(by_keyword))
    if unknown and not takes_any:
        offered = [n for n, p in by_keyword.items() if p.default is not p.empty]
        raise RewardLoadError(
            f"reward {name!r} has no parameter {', '.join(unknown)}; params may set: {', '.join(offered) or 'none'}"
        )
    call: Callable[..., object] = partial(target, **params) if params else target
    free = {n: p for n, p in parameters.items() if n not in params}
    style = _style(free, takes_any)
    if style is None:
        raise RewardLoadError(
            f"reward {name!r}: cannot tell how to call {name.split(':')[-1]}{signature}; {_ACCEPTED}"
        )
    _check_required(name, style, free)
    accepts = frozenset(by_keyword) - set(params)
    if style in ("native", "row"):
        call = _named(call, free, style)
    elif places := [n for n, p in free.items() if p.kind is p.POSITIONAL_ONLY]:
        call, accepts = _placed(call, places), accepts | set(places)
    needs_ids = style == "native" or (style == "trl" and (takes_any or "completion_ids" in accepts))
    close = getattr(target, "close", None)
    return RewardFunction(
        name,
        style,
        call,
        accepts,
        takes_any,
        needs_ids,
        _needs(style, free),
        close if callable(close) else None,
    )


def call_row(function: RewardFunction, row: RewardRow) -> Score:
    """One call of a row-wise reward. Whatever it raises, or the value it returns, becomes a verdict."""
    started = time.perf_counter()
    try:
        score = as_score(
            _awaited(function.call(row) if function.style == "row" else _call_verl(function, row))
        )
    except BaseException as error:  # SystemExit and KeyboardInterrupt of a plug-in cost a row too
        score = raised(error)
    return _timed(score, time.perf_counter() - started)


def call_batch(function: RewardFunction, rows: Sequence[RewardRow], deadline_s: float) -> list[Score]:
    """One call of a list-wise reward for all rows. A raise or a wrong length costs the whole call."""
    started = time.perf_counter()
    try:
        batch = to_batch(rows, deadline_s)
        value = (
            function.call(batch) if function.style == "native" else _call_trl(function, rows, batch.columns)
        )
        scores = as_scores(_awaited(value), len(rows))
    except WrongLength as error:
        scores = [failed("error", str(error))] * len(rows)
    except BaseException as error:
        scores = [raised(error)] * len(rows)
    seconds = (time.perf_counter() - started) / max(len(rows), 1)
    return [_timed(score, seconds) for score in scores]


def raised(error: BaseException) -> Score:
    """Return the verdict on a reward that raised: what, where, and the traceback from the user's code on."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_HERE)] or list(frames)
    where = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(own), describe(error)]
    return failed("error", f"raised {describe(error)}{where}", trace="".join(lines)[-MAX_TRACE:])


def describe(error: BaseException) -> str:
    """`ValueError: message`, also for exceptions whose message cannot be made."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:
        return type(error).__name__


def _call_verl(function: RewardFunction, row: RewardRow) -> object:
    offered: JsonDict = {
        "data_source": row.columns.get("data_source", ""),
        "solution_str": row.completion,
        "ground_truth": row.answer,
        "extra_info": row.columns.get("extra_info", {}),
    }
    return function.call(**{n: v for n, v in offered.items() if n in function.accepts or function.takes_any})


def _call_trl(function: RewardFunction, rows: Sequence[RewardRow], columns: JsonMapping) -> object:
    offered: JsonDict = dict(columns)
    offered |= {
        "answer": [row.answer for row in rows],
        "prompts": [row.prompt for row in rows],
        "completions": [row.completion for row in rows],
        "trainer_state": SimpleNamespace(global_step=rows[0].step),
        "log_extra": lambda *_: None,
        "log_metric": lambda *_: None,
    }
    if function.needs_ids:
        offered["completion_ids"] = [row.completion_ids.tolist() for row in rows]
    if not function.takes_any:
        offered = {n: v for n, v in offered.items() if n in function.accepts}
    try:
        inspect.signature(function.call).bind(**offered)
    except TypeError as error:
        raise TypeError(f"{error}; columns of the data: {', '.join(columns) or 'none'}") from None
    if function.learnt.get("messages"):
        return function.call(**offered | _as_messages(offered))
    try:
        return _awaited(function.call(**offered))
    except (TypeError, IndexError, AttributeError) as error:
        if not _expects_messages(function, offered, error):
            raise
    function.learnt["messages"] = True
    return function.call(**offered | _as_messages(offered))


def _expects_messages(function: RewardFunction, offered: JsonMapping, error: Exception) -> bool:
    """True if the function was written for TRL's conversations: `completion[0]["content"]` fails on a string so.

    On an empty one it fails as a function for strings may too: then a completion that is not empty has to tell.
    """
    if str(error).startswith(_MESSAGES_WANTED):
        return True
    if not isinstance(error, IndexError) or not str(error).startswith("string index out of range"):
        return False
    filled = {name: [text or "x" for text in offered[name]] for name in _MESSAGE_ROLES if name in offered}
    try:
        _awaited(function.call(**{**offered, **filled}))
    except Exception as second:
        return str(second).startswith(_MESSAGES_WANTED)
    return False


def _as_messages(offered: JsonMapping) -> JsonDict:
    """Prompts and completions as TRL gives them for conversational data."""
    return {
        name: [[{"role": role, "content": text}] for text in offered[name]]
        for name, role in _MESSAGE_ROLES.items()
        if name in offered
    }


def _awaited(value: object) -> object:
    if not inspect.isawaitable(value):
        return value

    import asyncio

    async def wait() -> object:
        return await value

    return asyncio.run(wait())


def _named(
    call: Callable[..., object], parameters: Mapping[str, inspect.Parameter], style: str
) -> Callable[..., object]:
    """`call` for its one argument, passed by name if it can only be passed so: reward(*, row)."""
    single = {"native": "batch", "row": "row"}[style]
    name = single if single in parameters else next(n for n, p in parameters.items() if _is_required(p))
    if parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY:
        return call
    return lambda value: call(**{name: value})


def _placed(call: Callable[..., object], places: Sequence[str]) -> Callable[..., object]:
    """`call` by keyword for a function that takes its first parameters by place only: reward(completions, /)."""

    def by_keyword(**given: object) -> object:
        at_front = [given.pop(name) for name in itertools.takewhile(given.__contains__, places)]
        return call(*at_front, **given)

    return by_keyword


def _timed(score: Score, seconds: float) -> Score:
    return replace(score, seconds=seconds)


def _construct(name: str, cls: type, params: JsonMapping) -> object:
    try:
        return cls(**params)
    except Exception as error:
        raise RewardLoadError(
            f"reward {name!r}: {cls.__name__}(**params) raised {describe(error)}"
        ) from error


def _signature(name: str, target: Callable[..., object]) -> inspect.Signature:
    try:
        return inspect.signature(target)
    except (TypeError, ValueError) as error:
        raise RewardLoadError(
            f"reward {name!r}: its parameters cannot be read ({error}); wrap it in a def"
        ) from error


def _style(parameters: Mapping[str, inspect.Parameter], takes_any: bool) -> Style | None:
    names = set(parameters)
    if "solution_str" in names:
        return "verl"
    if names & _TRL_NAMES:
        return "trl"
    for single in ("batch", "row"):
        if (
            single in names
            or _sole_annotation(parameters) == {"batch": "RewardBatch", "row": "RewardRow"}[single]
        ):
            return "native" if single == "batch" else "row"
    return "trl" if takes_any else None


def _sole_annotation(parameters: Mapping[str, inspect.Parameter]) -> str:
    """Type name on the only required parameter, "" if there is not just one."""
    required = [p for p in parameters.values() if _is_required(p)]
    if len(required) != 1 or required[0].annotation is inspect.Parameter.empty:
        return ""
    annotation = required[0].annotation
    return (annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")).split(".")[-1]


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_KEYWORD,
        parameter.VAR_POSITIONAL,
    )


def _needs(style: Style, parameters: Mapping[str, inspect.Parameter]) -> Needs:
    """What the data must have for a call: a native function or one for a row says nothing about it."""
    required = {name for name, parameter in parameters.items() if _is_required(parameter)}
    if style == "trl":
        return Needs(frozenset(required - _TRL_GIVEN), "answer" in required)
    return Needs(answer=style == "verl" and "ground_truth" in required)


def _check_required(name: str, style: Style, parameters: Mapping[str, inspect.Parameter]) -> None:
    """Refuse what could never be called. TRL's other names may be columns, known only with the data."""
    required = [n for n, p in parameters.items() if _is_required(p)]
    if style in ("native", "row"):
        missing = required[1:]
    elif style == "verl":
        missing = [n for n in required if n not in _VERL_NAMES]
    else:
        missing = []
    if missing:
        raise RewardLoadError(
            f"reward {name!r}: nothing to pass for {', '.join(missing)}; set it in params or give it a default "
            f"({_ACCEPTED})"
        )
