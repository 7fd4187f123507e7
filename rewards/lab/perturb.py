"""Makes wrong answers that resemble the right one, which a verifier must distinguish from it.

wrong_answers("42", ["7"])  ->  43, 427, 142, 52, 24, -42, 42.4, 7
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rewards.math.accuracy import accuracy
from rewards.rows import RewardRow

_NUMBER = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+|[0-9]*\.[0-9]+|[0-9]+")
_WHOLE = re.compile(r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]*\.[0-9]+|[0-9]+)")
_LETTER = re.compile(r"\(?([A-Ja-j])\)?")


def wrong_answers(answer: str, others: Sequence[str], given: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return wrong answers as (description, text), each different from `answer` in value.

    Args:
        others: answers to other questions.
        given: the row's own wrong answers, which are used unchanged.
    """
    made = [*_numbers(answer), *_letters(answer)]
    made += [("another question's answer", other) for other in dict.fromkeys(others)]
    kept = [(how, text) for how, text in made if differs(answer, text)]
    swapped = [item for item in kept if item[0].startswith("another question")][:2]
    kept = [item for item in kept if item not in swapped] + swapped
    return [*kept, *(("named in the data", text) for text in given)]


def differs(answer: str, text: str) -> bool:
    """Return True if `text` does not have the same value as `answer`."""
    if answer.strip() == text.strip():
        return False
    return accuracy(RewardRow(f"<answer>{text}</answer>", answer=answer)).total == 0.0


def _numbers(answer: str) -> list[tuple[str, str]]:
    found = list(_NUMBER.finditer(answer))
    if not found:
        return []
    last = found[-1]
    token = last.group()

    def put(text: str) -> str:
        return answer[: last.start()] + text + answer[last.end() :]

    made = [("the next number", put(_next(token))), ("a digit in front", put("1" + token.lstrip(",")))]
    if token.isdigit():
        made.append(("a digit behind", put(f"{token}7")))
        if len(token) > 1:
            made.append(("another first digit", put(str(int(token[0]) % 9 + 1) + token[1:])))
        made += [("two digits swapped", put(swapped)) for swapped in _swapped(token)]
    if len(found) == 1 and _WHOLE.fullmatch(answer.strip()):
        plain = answer.strip()
        made.append(("another sign", plain[1:] if plain[0] == "-" else "-" + plain.lstrip("+")))
        if plain.lstrip("+-").isdigit():
            made.append(("a little more", f"{plain}.4"))
    return made


def _swapped(token: str) -> list[str]:
    """Return the digits in another order: the last two adjacent digits that differ are swapped."""
    for at in range(len(token) - 1, 0, -1):
        if token[at] != token[at - 1] and not (at == 1 and token[1] == "0"):
            return [token[: at - 1] + token[at] + token[at - 1] + token[at + 1 :]]
    return []


def _next(token: str) -> str:
    if "." in token:
        return token[:-1] + str((int(token[-1]) + 1) % 10)
    number = int(token.replace(",", "")) + 1
    return f"{number:,}" if "," in token else str(number)


def _letters(answer: str) -> list[tuple[str, str]]:
    match = _LETTER.fullmatch(answer.strip())
    if match is None:
        return []
    letter = match[1]
    first = ord("A" if letter.isupper() else "a")
    others = [chr(first + (ord(letter) - first + step) % 4) for step in (1, 2)]
    return [("another option", answer.strip().replace(letter, other)) for other in others if other != letter]
