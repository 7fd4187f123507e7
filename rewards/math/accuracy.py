"""Reward `accuracy`: 1 if the final answer equals the reference, else 0 (R1's rule-based accuracy for mathematics).

It runs in a reward host, which is killed from outside if a row hangs. Three safeguards keep that rare: size checks
before any parser runs, a CPU-time budget per comparison, and strictness (an answer that cannot be parsed is compared
as text).

A reference may be written bare, as `\\boxed{…}` or as `$…$`, with the same meaning. If the reference is a list of
different numbers or expressions, the answer must give all of them, in any order. If the items of the list all have
the same value, or any of them is words, one match is enough.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import re
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from types import FrameType

from rewards.math.answer import committed_answer
from rewards.math.choice import labelled
from rewards.math.compare import DIFFERENT, SAME, compare, speaks_of_bases
from rewards.math.numbers import read_integer
from rewards.math.parse import parse
from rewards.math.question import asks_for, asks_for_another
from rewards.math.sentence import value_in
from rewards.math.symbolic import Refused
from rewards.math.text import clean, has_hidden_characters, is_reordered, occurs_in, regrouped
from rewards.math.values import Based, Expression, Group, Quantity, Value, Words
from rewards.rows import RewardRow
from rewards.text.extract import boxes
from rewards.types import Score
from rewards.values import failed

CPU_BUDGET_S = 0.8
_PROMPT_CHARS = 20_000
_ARITHMETIC = re.compile(r"[0-9.,+\-*/()\s{}^]|\\(?:cdot|times|div|frac)(?![A-Za-z])")
_OPERATION = re.compile(r"!|\^|\\(?:sqrt|binom|gcd|lcm|log|ln|lfloor|lceil|max|min|sin|cos|tan)(?![A-Za-z])")
_LETTER = re.compile(r"\(? ?([A-J]) ?\)?")
_ROUNDING = re.compile(
    r"\bround|nearest|approximat|estimat|\babout\b|decimal places|significant|近似|约|保留|精确到",
    re.IGNORECASE,
)


class OutOfTime(BaseException):
    """Raised when a comparison exceeds its CPU time. Not an `Exception`, so that SymPy's handlers do not catch it."""


def accuracy(row: RewardRow, cpu_budget_s: float = CPU_BUDGET_S) -> Score:
    """Return 1.0 if the final answer equals the reference, else 0.0 with the reason if it is known.

    Abstain if the row has no reference answer. Report `timeout` if the comparison exceeds `cpu_budget_s` seconds of
    CPU time, and `error` if the reference is not a string, a finite number or a list of these.
    """
    if (
        row.answer is None
        or row.answer == []
        or (isinstance(row.answer, str) and not row.answer.strip(" \t\r\n$"))
    ):
        return failed("abstain", "no reference answer")
    problem = _reference_problem(row.answer)
    if problem:
        return failed("error", problem)
    answer, reason = committed_answer(row.completion)
    if answer is None:
        return Score(0.0, reason=reason)
    return compared(lambda: is_correct(row.answer, answer, row.question), cpu_budget_s)


def compared(judge: Callable[[], tuple[bool, str]], cpu_budget_s: float) -> Score:
    """Run a comparison under a budget of processor time; return its verdict, 1 or 0, with its reason."""
    try:
        with cpu_budget(cpu_budget_s):
            correct, reason = judge()
    except OutOfTime:
        return failed("timeout", f"comparing took more than {cpu_budget_s:g} s of processor time")
    except Refused as refused:
        return Score(0.0, reason=f"not compared: {refused}")
    except (RecursionError, MemoryError) as error:
        return Score(0.0, reason=f"not compared: {type(error).__name__}")
    return Score(1.0 if correct else 0.0, reason=reason)


def warm_up() -> None:
    """Load the symbolic parser now: it takes seconds, which should not count against any row's budget."""
    logging.getLogger("math_verify").setLevel(
        logging.ERROR
    )  # silences its warning that its SIGALRM timeout is off; ours applies instead
    with contextlib.suppress(Refused):
        is_correct(r"\frac{x+1}{2}", r"\frac{1}{2} + \frac{x}{2}")
        is_correct(r"\sqrt{8}", r"2\sqrt{2}")


def is_correct(reference: object, answer: str, prompt: str = "") -> tuple[bool, str]:
    """Return whether `answer` (the extracted text) equals `reference`, and the reason if not (may be empty).

    Raises `Refused` if an expression is too large to compare. `OutOfTime` passes through if it runs in `cpu_budget`.
    """
    found = _is_correct(reference, answer, prompt)
    if found[0] or found[1] or isinstance(reference, list):
        return found
    said = value_in(clean(answer), prompt[-_PROMPT_CHARS:])
    return found if said is None else _is_correct(reference, said, prompt)


def _is_correct(reference: object, answer: str, prompt: str) -> tuple[bool, str]:
    plain = read_integer(answer.strip())
    if plain is not None and (expected := _plain_integer(reference)) is not None:
        return plain == expected, ""
    if has_hidden_characters(answer.strip().strip("\ufeff\u200b")):
        return False, "invisible characters in the answer"
    prompt = prompt[-_PROMPT_CHARS:]
    text = clean(answer)
    if (named := re.match(r"([A-Za-z])\s*=", text)) and asks_for_another(named[1], prompt):
        return False, f"the question does not ask for {named[1]}"
    candidate = parse(_value_asked_for(text, prompt))
    level = DIFFERENT
    for text_of_reference, value in _references(reference):
        level = max(level, _compared(text_of_reference, value, text, candidate, prompt))
        if level == SAME:
            return True, ""
    if level == DIFFERENT:
        return False, ""
    if _echoes(text, candidate, prompt) or _is_undone(reference, candidate, prompt):
        return False, "the answer only repeats the question"
    return True, ""


def _plain_integer(reference: object) -> int | None:
    if isinstance(reference, str):
        return read_integer(reference.strip())
    return reference if isinstance(reference, int) and not isinstance(reference, bool) else None


def _reference_problem(reference: object) -> str:
    items = reference if isinstance(reference, list) else [reference]
    for item in items:
        if isinstance(item, float) and not math.isfinite(item):
            return f"reference answer is {item}"
    if all(isinstance(item, str | int | float) for item in items):
        return ""
    return f"reference answer is {type(reference).__name__}, expected string, number or a list of them"


def _references(reference: object) -> Iterator[tuple[str, Value]]:
    """Yield each value that counts as correct, with its cleaned text."""
    if not isinstance(reference, list):
        text = clean(_spelled(reference))
        yield text, parse(text)
        return
    texts = [clean(_spelled(item)) for item in reference]
    values = [parse(text) for text in texts]
    has_words = any(isinstance(value, Words) for value in values)
    if len(values) == 1 or has_words or all(compare(values[0], value) for value in values[1:]):
        yield from zip(texts, values, strict=True)
    else:
        yield ", ".join(texts), Group("", tuple(values))


def _spelled(reference: object) -> str:
    if isinstance(reference, bool):
        return str(reference)
    if isinstance(reference, float):
        return repr(int(reference)) if reference.is_integer() and abs(reference) < 1e15 else repr(reference)
    text = str(reference)
    found = boxes(text)
    return found[-1].body if len(found) == 1 else text


def _compared(reference_text: str, reference: Value, text: str, candidate: Value, prompt: str) -> int:
    if text == reference_text and text:
        return SAME
    if _says_approximately(text) and not (_is_rounded(reference) or _ROUNDING.search(prompt)):
        return DIFFERENT
    if isinstance(reference, Based) and text.upper() == reference.digits and speaks_of_bases(prompt):
        return SAME  # without this context, 2A would be two amperes
    level = compare(reference, candidate, prompt)
    if not level:
        level = _compared_regrouped(reference_text, reference, text, candidate, prompt)
    if (
        not level
        and isinstance(reference, Quantity)
        and re.fullmatch(r"\(-?[0-9]{1,3}(?:,[0-9]{3})+\)", text)
    ):
        level = compare(
            reference, parse(text[1:-1]), prompt
        )  # "(1,234)" is a pair unless the reference is a number
    if not level and ("," in text or "," in reference_text):  # "100,200,300" is a number or a list: try both
        spaced = [parse(re.sub(r",(?=\S)", ", ", t)) for t in (reference_text, text)]
        if (
            isinstance(spaced[0], Group)
            and isinstance(spaced[1], Group)
            and not isinstance(reference, Quantity)
        ):
            level = compare(spaced[0], spaced[1], prompt)
    return level or _compared_option(reference_text, text, prompt)


def _compared_option(reference_text: str, text: str, prompt: str) -> int:
    """Compare where one side is an option with its letter, "(C) 12": with another, with a letter, with a value.

    A reference C may be a variable, and then (C) 12 a product, unless the question has options.
    """
    reference, option = labelled(reference_text), labelled(text)
    if reference is None and option is None:
        return DIFFERENT
    if reference and option and reference[0] != option[0]:
        return DIFFERENT
    if option and (letter := _LETTER.fullmatch(reference_text)):
        has_options = re.search(rf"(?<![A-Za-z]){option[0]}\s?\}}*[.)]", prompt)
        return SAME if option[0] == letter[1] and has_options else DIFFERENT
    if reference and (letter := _LETTER.fullmatch(text)):
        return SAME if reference[0] == letter[1] else DIFFERENT
    wanted, said = reference[1] if reference else reference_text, option[1] if option else text
    return compare(parse(wanted), parse(said), prompt)


def _says_approximately(text: str) -> bool:
    return re.search(r"\\approx(?![A-Za-z])", text) is not None


def _is_rounded(reference: Value) -> bool:
    return isinstance(reference, Quantity) and reference.number.form in ("decimal", "scientific")


def _compared_regrouped(
    reference_text: str, reference: Value, text: str, candidate: Value, prompt: str
) -> int:
    """Read 12,34,567 (Indian), 1.234.567 (European) and 1'234'567 as numbers if the other side is a number."""
    if isinstance(reference, Quantity) and (plain := regrouped(text)):
        return compare(reference, parse(plain), prompt)
    if isinstance(candidate, Quantity) and (plain := regrouped(reference_text)):
        return compare(parse(plain), candidate, prompt)
    return DIFFERENT


def _value_asked_for(text: str, prompt: str) -> str:
    """Return the right side of "m + n = 113" if the question asks for m + n; else `text`."""
    left, equals, right = text.partition("=")
    return right.strip() if equals and right.strip() and asks_for(left, prompt) else text


def _echoes(text: str, candidate: Value, prompt: str) -> bool:
    """Return True if the answer is copied from the question or only combines its numbers without computing."""
    if not prompt:
        return False
    question = clean(prompt)
    if occurs_in(text, question) or is_reordered(text, question):
        return True
    if not isinstance(candidate, Expression) or _ARITHMETIC.sub("", candidate.latex):
        return False
    used = _numbers(candidate.latex)
    return len(used) > 1 and set(used) <= _numbers_asked(prompt) and _is_sum(candidate.latex)


def _is_undone(reference: object, candidate: Value, prompt: str) -> bool:
    """Return True if the answer is an unevaluated root, power, factorial, … of numbers from the question.

    This applies only where the reference is a plain number, so that the evaluation is the task.
    """
    if not prompt or not isinstance(candidate, Expression) or not _OPERATION.search(candidate.latex):
        return False
    value = None if isinstance(reference, list) else parse(clean(_spelled(reference)))
    used = _numbers(candidate.latex)
    return isinstance(value, Quantity) and bool(used) and set(used) <= _numbers_asked(prompt)


def _numbers(text: str) -> list[str]:
    return re.findall(r"[0-9]+(?:\.[0-9]+)?", text)


def _numbers_asked(prompt: str) -> set[str]:
    powers = (("2", r"square|平方"), ("3", r"cube|立方"), ("1", r"root|根"))
    return set(_numbers(prompt)) | {power for power, word in powers if re.search(word, prompt, re.I)}


def _is_sum(latex: str) -> bool:
    """Return True if an operator joins numbers, so that something is left to compute."""
    return re.search(r"[0-9)}]\s*(?:[+*/^-]|\\(?:cdot|times|div))", latex) is not None


def _swallows(frame: FrameType | None) -> bool:
    """Return True below a finalizer, or a callback of the collector or of the standard library's weak references.

    There Python prints an exception and goes on.
    """
    callbacks = {getattr(callback, "__code__", None) for callback in gc.callbacks}
    while frame is not None:
        code = frame.f_code
        is_weak = code.co_filename in _WEAK_FILES and code.co_name in _WEAK_CALLBACKS
        if code.co_name == "__del__" or code in callbacks or is_weak:
            return True
        frame = frame.f_back
    return False


_WEAK_FILES = {kind.__init__.__code__.co_filename for kind in (weakref.WeakKeyDictionary, weakref.WeakSet)}
_WEAK_CALLBACKS = {"remove", "_remove", "__call__"}
"""Of dictionaries, of sets, of `weakref.finalize`."""


@contextlib.contextmanager
def cpu_budget(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the block after `seconds` of CPU time, and every 0.2 s after that in case it was lost.

    Outside the main thread this does nothing, because signals are not available there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no signals here; the host's timeout still applies
        return

    def ring(_signal: int, frame: FrameType | None) -> None:
        if not _swallows(frame):
            raise OutOfTime

    previous = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
