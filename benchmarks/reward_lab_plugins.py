"""Rewards with one planted fault each, and honest ones, for `benchmarks/reward_lab.py` to try the laboratory on.

A name that begins with `bad_` has a fault, one with `good_` has none. Native, row, TRL and verl signatures are mixed.
"""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path

TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:/\d+)?")


def tagged(text):
    """Return the content of the last answer tag, or None."""
    found = TAG.findall(text.rpartition("</think>")[2])
    return found[-1].strip() if found else None


def equal(text, answer):
    """Compare as text; every fault below builds on this comparison."""
    return text is not None and text == str(answer)


# honest ------------------------------------------------------------------------------------------------------------


def good_exact(row):
    return float(equal(tagged(row.completion), row.answer))


def good_first_tag(solution_str, ground_truth):
    match = TAG.search(solution_str)
    return 1.0 if match and match.group(1).strip() == str(ground_truth) else 0.0


def good_split(completions, answer):
    """The extraction of many GSM8K scripts."""
    found = [c.split("<answer>")[-1].split("</answer>")[0].strip() for c in completions]
    return [float(text == str(a)) for text, a in zip(found, answer, strict=True)]


def good_boxed(data_source, solution_str, ground_truth, extra_info=None):
    found = re.findall(r"\\boxed\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}", solution_str)
    return {"score": float(bool(found) and found[-1].strip() == str(ground_truth))}


def good_last_number(completions, answer, **_):
    """Flexible GSM8K: the last number of the reply."""
    last = [(NUMBER.findall(c.replace(",", "")) or [""])[-1] for c in completions]
    return [float(text == str(a).replace(",", "")) for text, a in zip(last, answer, strict=True)]


def good_hashes(row):
    match = re.search(r"####\s*(.+?)\s*$", row.completion)
    return 1 if match and match.group(1) == str(row.answer) else 0


def good_fraction(batch):
    """By value, exactly."""

    def value(text):
        try:
            return Fraction(str(text).replace(",", "").replace(" ", ""))
        except (ValueError, ZeroDivisionError, TypeError):
            return text

    return [
        float(text is not None and value(text) == value(answer))
        for text, answer in zip(map(tagged, batch.completions), batch.answers, strict=True)
    ]


class good_cached:
    """A cache with the right key, and a lock around it."""

    def __init__(self):
        self._known, self._lock = {}, threading.Lock()

    def __call__(self, row):
        with self._lock:
            key = (row.completion, str(row.answer))
            if key not in self._known:
                self._known[key] = good_exact(row)
            return self._known[key]


async def good_async(row):
    return good_exact(row)


def good_slow_but_steady(row):
    time.sleep(0.01)
    return good_exact(row)


def good_strict_shape(completions, answer):
    """Format and answer in one, with the regular expression of open-r1."""
    shape = re.compile(r"^<think>.*?</think>\s*<answer>(.*?)</answer>$", re.DOTALL)
    found = [shape.match(c) for c in completions]
    return [float(bool(m) and m.group(1).strip() == str(a)) for m, a in zip(found, answer, strict=True)]


def good_casefold(row):
    body = tagged(row.completion)
    return float(body is not None and body.casefold() == str(row.answer).casefold())


def good_sandboxed_file(row):
    """A temporary file of its own for each call."""
    with tempfile.NamedTemporaryFile("w+", encoding="utf-8", errors="replace") as file:
        file.write(tagged(row.completion) or "")
        file.seek(0)
        return float(file.read() == str(row.answer))


# accepts what is wrong ---------------------------------------------------------------------------------------------


def bad_accepts_empty(row):
    body = tagged(row.completion) or ""
    return float(body in str(row.answer))


def bad_accepts_nothing_at_all(row):
    return 1.0 if not row.completion.strip() else good_exact(row)


def bad_contained_anywhere(completions, answer):
    return [float(str(a) in c) for c, a in zip(completions, answer, strict=True)]


def bad_contained_in_answer(row):
    return float(str(row.answer) in (tagged(row.completion) or ""))


def bad_any_number(row):
    return float(str(row.answer) in NUMBER.findall(row.completion))


def bad_first_number(row):
    found = NUMBER.findall(row.completion)
    return float(bool(found) and found[0] == str(row.answer)) or good_exact(row)


def bad_prefix(row):
    return float((tagged(row.completion) or "").startswith(str(row.answer)))


def bad_ignores_sign(row):
    return float((tagged(row.completion) or "").lstrip("-") == str(row.answer).lstrip("-"))


def bad_rounds(row):
    try:
        return float(int(float(tagged(row.completion))) == int(float(row.answer)))
    except (TypeError, ValueError, OverflowError):
        return good_exact(row)


def bad_digits_only(row):
    """Compares the digits and nothing else."""

    def digits(text):
        return re.sub(r"\D", "", str(text))

    body = tagged(row.completion)
    return float(body is not None and digits(body) == digits(row.answer))


def bad_reads_reasoning(row):
    return float(re.search(rf"(?<!\w){re.escape(str(row.answer))}(?!\w)", row.completion) is not None)


def bad_echo(row):
    return max(good_exact(row), float(bool(row.prompt) and row.prompt in row.completion))


def bad_echo_in_tags(row):
    return max(good_exact(row), float(bool(row.prompt) and (tagged(row.completion) or "") == row.prompt))


def bad_any_answer(completions):
    return [float(bool(tagged(c))) for c in completions]


def bad_constant_one(completions):
    return [1.0] * len(completions)


def bad_constant_zero(completions):
    return [0.0] * len(completions)


def bad_unclosed(row):
    """Accepts a truncated answer: any prefix of the reference counts as right."""
    body = row.completion.rpartition("<answer>")[2].partition("</answer>")[0].strip()
    return float(bool(body) and str(row.answer).startswith(body))


def bad_always_right_when_long(row):
    return 1.0 if len(row.completion) > 2000 else good_exact(row)


def bad_length_bonus(row):
    return good_exact(row) + min(len(row.completion), 4000) / 40_000


def bad_length_malus(row):
    return good_exact(row) * (1.0 if len(row.completion) < 3000 else 0.2)


def bad_always_wrong_reference(row):
    """Compares with the question's last number."""
    numbers = NUMBER.findall(row.prompt)
    return float(bool(numbers) and tagged(row.completion) == numbers[-1])


def bad_exception_is_right(row):
    try:
        return float(Fraction(tagged(row.completion)) == Fraction(str(row.answer)))
    except Exception:
        return 1.0


# gives no verdict --------------------------------------------------------------------------------------------------


def bad_nan(row):
    body = tagged(row.completion)
    return float("nan") if body is None else float(equal(body, row.answer))


def bad_abstains_instead_of_zero(row):
    body = tagged(row.completion)
    return None if body is None else float(equal(body, row.answer))


def bad_crashes_on_unicode(row):
    row.completion.encode("latin-1")
    return good_exact(row)


def bad_crashes_without_tag(row):
    return float(TAG.search(row.completion).group(1).strip() == str(row.answer))


def bad_returns_text(row):
    return "1.0" if good_exact(row) else "0.0"


def bad_forgets_a_row(completions, answer):
    return [
        float(equal(tagged(c), a)) for c, a in zip(completions, answer, strict=True) if tagged(c) is not None
    ]


def bad_exits(row):
    if not row.completion.strip():
        os._exit(3)
    return good_exact(row)


# unstable ----------------------------------------------------------------------------------------------------------


def bad_coin(row):
    return good_exact(row) if random.random() > 0.02 else 1.0 - good_exact(row)


def bad_noise(row):
    return good_exact(row) + random.gauss(0, 0.01)


def bad_seeded_by_hash(row):
    """Python salts its hashes in every process."""
    return good_exact(row) if hash(row.completion) % 10 else 0.5


def bad_clock(row):
    return good_exact(row) if time.time_ns() // 50_000_000 % 8 else 0.0


_seen = set()


def bad_pays_once(row):
    """Pays less when the same completion comes again."""
    is_new = row.completion not in _seen
    _seen.add(row.completion)
    return good_exact(row) * (1.0 if is_new else 0.5)


_by_prompt = {}


def bad_caches_by_prompt(row):
    return _by_prompt.setdefault(row.prompt, good_exact(row))


_calls = [0]


def bad_every_hundredth(row):
    _calls[0] += 1
    return 1.0 if _calls[0] % 100 == 0 else good_exact(row)


_last = [""]


def bad_uses_the_row_before(row):
    body = tagged(row.completion) or _last[0]
    _last[0] = body
    return float(equal(body, row.answer))


def bad_leaks_across_rows(completions, answer):
    """One right answer also raises the score of its neighbour."""
    own = [float(equal(tagged(c), a)) for c, a in zip(completions, answer, strict=True)]
    return [max(own[max(at - 1, 0) : at + 1]) for at in range(len(own))]


def bad_standardised(completions, answer):
    own = [float(equal(tagged(c), a)) for c, a in zip(completions, answer, strict=True)]
    spread = statistics.pstdev(own)
    return [(value - statistics.fmean(own)) / spread if spread else 0.0 for value in own]


def bad_ranks_by_position(completions, answer):
    own = [float(equal(tagged(c), a)) for c, a in zip(completions, answer, strict=True)]
    return [value * (1.0 - 0.001 * at) for at, value in enumerate(own)]


_scratch = {}


def bad_global_scratch(row):
    """Keeps working state in a global: two concurrent threads mix their rows."""
    _scratch["body"] = tagged(row.completion)
    _scratch["answer"] = str(row.answer)
    for _ in range(20):
        _scratch["body"] = (_scratch["body"] or "").strip()
    return float(equal(_scratch["body"], _scratch["answer"]))


def bad_global_list(batch):
    """The same for a list-wise reward, with a pause as for a disk or a socket."""
    _scratch["todo"] = list(zip(batch.completions, batch.answers, strict=True))
    time.sleep(0.001)
    return [float(equal(tagged(c), a)) for c, a in _scratch["todo"]][: len(batch.completions)]


def bad_alarm(row):
    """A time limit by signal works only in the main thread."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    return good_exact(row)


def bad_shared_file(row):
    """All processes write to one file."""
    path = Path(tempfile.gettempdir()) / f"reward_lab_{os.getuid()}.txt"
    path.write_text(tagged(row.completion) or "", encoding="utf-8", errors="replace")
    time.sleep(0.0005)
    return float(path.read_text(encoding="utf-8") == str(row.answer))


# late --------------------------------------------------------------------------------------------------------------


def bad_hangs_on_empty(row):
    while not row.completion.strip():
        time.sleep(1)
    return good_exact(row)


def bad_slow(row):
    time.sleep(0.7)
    return good_exact(row)


def bad_backtracks(row):
    """A regular expression that is exponential in a run of words."""
    match = re.match(r"^(?:\w+\s?)*\d$", (tagged(row.completion) or row.completion)[-60:])
    return float(match is not None and tagged(row.completion) == str(row.answer)) or good_exact(row)


def bad_quadratic(row):
    text = row.completion
    sum(text.startswith("<answer>", at) for at in range(len(text)) if text[:at].count("\n") >= 0)
    return good_exact(row)
