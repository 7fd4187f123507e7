"""Labels completions by rules of their own, which share no code with the reward `accuracy`.

    label("So \\boxed{5/6}.", r"\\frac{5}{6}")      Label(True, "same number")

The final answer is the content of the last box. A rule decides where spelling or plain arithmetic decides; what is left
has to be read, and its label stands in `READ`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Label:
    """What a completion is worth."""

    right: bool | None
    """None: the rules do not decide."""
    rule: str
    answer: str = ""
    """The final answer as it stands in the box."""


READ: dict[tuple[str, str], bool] = dict.fromkeys(
    [
        (" -13", "\\begin{pmatrix} -2 \\\\ -14 \\\\ -7 \\end{pmatrix}"),
        ("-1", "1+2i"),
        ("-2", "(15,-29)"),
        ("1", "(-\\infty, 2) \\cup (3, \\infty)"),
        ("1", "(3,4]"),
        ("1", "16 \\sqrt{3}"),
        ("1", "x^8 + x^7 + x^6 + x^5 + x^4 + x^3 + x^2 + x + 1"),
        ("11", "1,-2"),
        ("120", "5r^5"),
        ("128", "2516_8"),
        ("13", "\\left(\\frac{3}{5},\\frac{8}{3}\\right]"),
        ("2", "(-\\infty, 0]"),
        ("2", "-2,1"),
        ("2", "1 \\pm \\sqrt{19}"),
        ("2", "3, 5, 7"),
        ("2", "\\text{ellipse}"),
        ("2", "p - q"),
        ("2", "x^5 - x^4 + x^3 - x^2 + x - 1"),
        ("2.5", "2 \\sqrt{5}"),
        ("200 + 200 = 400", "700"),
        ("25", "70 \\sqrt{2}"),
        ("25", "\\frac{\\sqrt{21}}{5}"),
        ("28", "8 \\pi"),
        ("3", "(a+5)(b+2)"),
        ("3", "1 - 12i"),
        ("3", "2\\sqrt{113}"),
        ("3", "3R^2"),
        ("3", "\\begin{pmatrix} -7 \\\\ 16 \\\\ 5 \\end{pmatrix}"),
        ("3", "\\sqrt{66}"),
        ("3", "\\text{east}"),
        ("3.14", "3 \\pm 2 \\sqrt{2}"),
        ("3.14", "3 \\sqrt{5}"),
        ("34", "15x - 80"),
        ("4", "(-1,6)"),
        ("4", "(6,31,-1)"),
        ("5", "\\begin{pmatrix} -1/3 \\\\ 2/3 \\\\ 5/3 \\end{pmatrix}"),
        ("7", "40_9"),
        ("7", "y = 2x + 3"),
        ("7.33", "137 \\frac{1}{2}"),
        ("8", "11\\sqrt2"),
        ("9", "\\frac{3\\sqrt{3}}{4}"),
        ("9.00\\text{inches/sec}", "12\\pi"),
        ("999", "4343_6"),
        ("A", "4495"),
        ("A+B", "12"),
        ("\\text{1, }a", "5"),
        ("a", "(-2,1)"),
        ("a+b", "-1"),
        ("ab", "202"),
        ("c", "5"),
        ("c", "\\pi"),
        ("c = 1", "(2,\\infty)"),
        ("d", "\\frac{35}{64}"),
        ("g(20)", "1"),
        ("i", "-2 + 7i"),
        ("m+n", "21"),
        ("m+n", "265"),
        ("p(7)", "\\frac{3}{56}"),
        ("x", "11"),
        ("x", "17"),
        ("x", "1800"),
        ("x", "4"),
        ("x", "5"),
        ("x \\dfrac{6\\cos 50^{\\circ}}{2\\cos 5^{\\circ}}\\sqrt{2}x", "\\frac{13}{6}"),
        ("z+1", "-1"),
        ("z^{85} + \\frac{1}{z^{85}}", "-2"),
    ],
    False,
)
"""(answer, reference) → label, for the answers that the rules leave open. Each was read: all have another value."""

_SPACE = re.compile(r"\\[,!;: ]|\\q?quad|~|\s+")
_WRAPPED = re.compile(r"\\(?:text|mbox|mathrm|textbf)\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"(-?)\\frac\{(-?\d+)\}\{(-?\d+)\}")
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)")


def boxes(text: str) -> list[str]:
    """Return the contents of all boxes, braces balanced; a box that never closes is none."""
    found = []
    for match in re.finditer(r"\\boxed\s*\{", text):
        depth = 1
        for at in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if not depth:
                found.append(text[match.end() : at])
                break
    return found


def plain(answer: str) -> str:
    """Return one spelling: no spaces, dollars, text wrappers, \\left; short forms of \\frac written out."""
    answer = _WRAPPED.sub(r"\1", answer).replace("\\$", "").replace("$", "")
    answer = (
        answer.replace("\\left", "").replace("\\right", "").replace("^\\circ", "").replace("^{\\circ}", "")
    )
    answer = _SPACE.sub("", answer).rstrip(".")
    answer = re.sub(r"\\[dt]frac", r"\\frac", answer)
    answer = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", answer)
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", answer)


def number(answer: str) -> Fraction | None:
    """Return the value of an integer, a decimal, a/b or \\frac{a}{b}; None for anything else."""
    if match := _FRACTION.fullmatch(answer):
        sign, top, bottom = match.groups()
        return Fraction(int(sign + "1")) * Fraction(int(top), int(bottom)) if int(bottom) else None
    top, slash, bottom = answer.partition("/")
    if slash and re.fullmatch(r"-?\d+", top) and re.fullmatch(r"\d+", bottom) and int(bottom):
        return Fraction(int(top), int(bottom))
    return Fraction(answer) if _NUMBER.fullmatch(answer) else None


def label(completion: str, reference: str) -> Label:
    """Return the label of a completion without tags, whose reference is LaTeX or a number."""
    found = boxes(completion)
    if not found:
        return Label(False, "no box")
    answer = found[-1]
    if (answer, reference) in READ:
        return Label(READ[answer, reference], "read", answer)
    if len({plain(box) for box in found}) > 3:
        return Label(False, "more than three different boxes", answer)
    one, other = plain(answer), plain(reference)
    if one == other:
        return Label(True, "same spelling", answer)
    if not one:
        return Label(False, "empty box", answer)
    values = number(one), number(other)
    if values[0] is not None and values[1] is not None:
        return Label(
            values[0] == values[1], "same number" if values[0] == values[1] else "another number", answer
        )
    return Label(None, "to be read", answer)
