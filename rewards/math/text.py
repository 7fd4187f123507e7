"""Normalize the many ways of writing the same answer: Unicode, LaTeX, Markdown and lead-in words. Text only.

Nothing here changes a value: `½` becomes a fraction, `5²` a power (never 52), `1{,}234` the number 1234.
"""

from __future__ import annotations

import re
import unicodedata

from rewards.text.extract import boxes
from rewards.text.visible import is_invisible

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SYMBOLS = {
    "×": r"\times ", "÷": r"\div ", "·": r"\cdot ", "⋅": r"\cdot ", "∗": "*", "−": "-", "–": "-", "—": "-", "‐": "-",
    "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∪": r"\cup ",
    "∩": r"\cap ", "∅": r"\emptyset ", "∈": r"\in ", "±": r"\pm ", "°": r"^\circ ", "℃": r"^\circ C", "℉": r"^\circ F",
    "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ", "μ": r"\mu ", "φ": r"\phi ", "ω": r"\omega ",
    "∖": r"\setminus ", "ℝ": r"\mathbb{R}", "∓": r"\mp ",
    "，": ",", "。": ".", "：": ":", "；": ";", "、": ",", "％": "%", "‰": r"\permille ", "’": "'", "‘": "'",
    "“": '"', "”": '"', "￥": "¥", "\u00a0": " ", "\u3000": " ", "\u202f": " ", "\u2009": " ",
}  # fmt: skip
_TRANSLATION = str.maketrans(_SYMBOLS)
_FRACTION_CHARS = {char: unicodedata.normalize("NFKC", char).split("\u2044") for char in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
_SPACING = re.compile(
    r"\\(?:[,;:! ]|quad\b|qquad\b|displaystyle\b|limits\b|hspace\{[^{}]*\})|(?<!~)~(?!~)|&nbsp;"
)
_GROUPED = re.compile(
    r"(?<![0-9.])[0-9]{1,3}"
    r"(?:\s?(?:\{,\}(?:\s?\\!)?|,\s?\\!|(?:\\[,;:! ]|\\thinspace(?![A-Za-z]))+)\s?[0-9]{3})+(?![0-9])"
)
"""Digits in groups of three with a LaTeX separator: 12,\\!600, 7,\\! 300,\\! 000, 1{,}234, 9\\,400."""
_COMMA_SPACE = re.compile(r"(?<=\d)\\[,;! ](?=\d{3}(?!\d))")
_TIGHT = re.compile(r"\s*\\!\s*")
_ROOT = re.compile(r"\\sqrt\s*(\[[^\[\]]{1,8}\])?\s*(\d|[A-Za-z](?![A-Za-z]))")
_COLON = re.compile(r"\s*(?:\\math(?:rel|bin|ord|punct)\s*)?(?:\{\s*:\s*\}|\\colon(?![A-Za-z]))\s*")
_CURRENCY = {
    "£": "pounds|textsterling|mathsterling", "€": "euro|texteuro|EUR", "¥": "yen|textyen|mathyen", "₹": "rupee|INR",
    "¢": "cent|textcent", "$": r"textdollar|mathdollar",
}  # fmt: skip
_SIGNS = {sign: re.compile(rf"\\(?:{names})(?![A-Za-z])(?:\{{\}})?\s*") for sign, names in _CURRENCY.items()}
_MARKS = "✅✔✓☑🎯👉➡📌🏁⭐🌟💡🔹🔸▶►●•■◆⇒→🎉\ufe0f"
"""Signs that models set before an answer."""
_MARKED_BOLD = re.compile(rf"^(\*\*|__)[{_MARKS}\s]+(?=\S)")
_HEADING = re.compile(r"^#{1,6}\s+(?=\S)")
_HOPE = re.compile(r"[.,]?\s*I\s+hope\s+(?:it|this)\s+is\s+correct\.?\s*$", re.IGNORECASE)
_SIZING = re.compile(r"\\(?:left|right|bigl?|bigr|Bigl?|Bigr|biggl?|biggr)(?![A-Za-z])\s*")
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|mbox|math(?:rm|bf|it|sf|tt|bb)|operatorname\*?|boldsymbol|bm|fbox)\s*"
    r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"
)
_REGROUPED = re.compile(
    r"([^0-9.,']{0,6})(?:([0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3})"
    r"|([0-9]{1,3}(?:\.[0-9]{3})(?:(?:\.[0-9]{3})+(?:,([0-9]+))?|,([0-9]+)))"
    r"|([0-9]{1,3}(?:'[0-9]{3})+))(?![0-9.,'])"
)
_SUM = re.compile(r"(?:[+-]\s?)?[^\s+\-,;:?$=]{1,40}(?:\s?[+-]\s?[^\s+\-,;:?$=]{1,40}){2,20}")
_BOLD_LEAD = re.compile(
    r"^(?:#{1,6}\s+)?(?:\*\*|__)([A-Za-z\u4e00-\u9fff ]{1,40})(?::(?:\*\*|__)|(?:\*\*|__)\s?:)\s*"
)
_ABOUT = re.compile(r"^\$?\s*~\s*(?=[\d.\\$+-])")
_LEAD = re.compile(
    r"""^(?:
        (?:so|thus|hence|therefore|then|finally|in\ conclusion|consequently)\b[,:]?\s+
      | (?:the|my|our|your|its)?\s*(?:(?:final|correct|exact|numerical|simplified|resulting|desired|required)\s+)*
        (?:answer|result|solution|value|sum|total|product|difference|quotient|probability|area|volume|perimeter|length
          |number|remainder|cost|price|expression|ratio|percentage|angle|matrix|set|equation|domain|range)
        (?:\s+of\s+[A-Za-z]\b)?\s*(?:is|are|equals|=|:|will\ be)
        (?:\s+(?:equal\ to|exactly|given\ by|simply))?\s*[:=]?\s+
      | (?:the|my)?\s*(?:final\s+)?(?:answer|result|solution)\s*[:=→⇒]\s*
      | (?:it|that|this)(?:\s+is|'s)\s+
      | (?:there\s+(?:is|are)|we\s+(?:get|have|obtain|find)|which\s+(?:is|gives)|equals|it\ equals)\s+
      | (?:所以|因此|故|综上)?,?\s*(?:最终|最后|正确)?(?:的)?(?:答案|结果|解)(?:应该|应)?(?:是|为|等于)?\s*[:：]?\s*
      | (?:所以|因此|故|综上|即|等于|共|一共|答)\s*[,:：]?\s*
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def clean(text: str) -> str:
    """Return the canonical spelling of an answer.

    Invisible characters inside the answer are kept on purpose, so that it equals no answer without them.
    """
    text = text.strip().strip("\ufeff\u200b")
    text = _HOPE.sub("", _HEADING.sub("", text.lstrip(f"{_MARKS} \t\r\n")))
    text = _MARKED_BOLD.sub(r"\1", text)
    text = {"×": "错", "√": "对"}.get(text, text)  # alone, the marks that teachers set
    if not text.isascii():
        text = _ascii_math(text)
    text = _unboxed(text).replace("\r", " ").replace("\n", " ").replace("\t", " ")
    text = _ABOUT.sub("about ", text)  # anywhere else, a tilde is a LaTeX space
    text = _BOLD_LEAD.sub(r"\1: ", text.strip())
    text = re.sub(r"^人民币\s*(?=[\d.])", "¥", text)
    text = _unwrapped(text)
    text = _plain_latex(text).strip()
    for _ in range(3):
        shorter = _LEAD.sub("", text, count=1)
        if shorter == text or not shorter.strip():
            break
        text = _unwrapped(shorter)
    text = re.sub(r"^(?:minus|negative)\s+(?=[\w.\\])", "-", text, flags=re.IGNORECASE)
    return " ".join(text.split())


def has_hidden_characters(text: str) -> bool:
    """Return True if the text contains an invisible character."""
    return not text.isascii() and any(map(is_invisible, text))


def squeezed(text: str) -> str:
    """Remove spacing, braces, dollar signs and case from a cleaned text, so that copies of the question match it."""
    return re.sub(r"[\s{}$\\]", "", _plain_operators(text)).casefold()


def occurs_in(text: str, question: str) -> bool:
    """Return True if the cleaned `question` contains the whole cleaned `text`, ignoring spacing and delimiters."""
    copied = squeezed(text)
    if not copied:
        return False
    pattern = r"[\s{}$\\]*".join(map(re.escape, copied))
    bounded = rf"(?<![A-Za-z0-9.^_]){pattern}(?![A-Za-z0-9^_]|\.[0-9])"
    return re.search(bounded, _plain_operators(question).casefold()) is not None


def is_reordered(text: str, question: str) -> bool:
    """Return True if `text` is a sum from the question with its terms reordered: 1+2x+x^2 for x^2+2x+1."""
    terms = _terms(text)
    return len(terms) > 2 and any(_terms(found.group()) == terms for found in _SUM.finditer(question))


def _terms(text: str) -> list[str]:
    signed = squeezed(text)
    return sorted(re.findall(r"[+-][^+-]+", signed if signed[:1] in ("+", "-") else f"+{signed}"))


def regrouped(text: str) -> str | None:
    """Remove the digit group separators from the first number in `text`: 12,34,567, 1.234.567, 1'234'567.

    A decimal comma becomes a point (1.234,56). Return None if there is no such number; a single point before three
    digits (1.234) is a decimal point.
    """
    match = _REGROUPED.match(text)
    if match is None:
        return None
    indian, european, *after, swiss = match.groups()[1:]
    decimals = after[0] or after[1] or ""
    european = (european or "").split(",")[0]
    whole = re.sub("[.,']", "", indian or european or swiss)
    return f"{match[1]}{whole}{'.' + decimals if decimals else ''}{text[match.end() :]}"


def _plain_operators(text: str) -> str:
    text = re.sub(r"\\(?:times|cdot)(?![A-Za-z])", "*", text)
    text = re.sub(r"\\div(?![A-Za-z])", "/", text)
    return re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", text)


def _unboxed(text: str) -> str:
    """Replace every box by its body; nested boxes are removed layer by layer, up to four."""
    for _ in range(4):
        found = boxes(text)
        if not found:
            break
        pieces, at = [], 0
        for box in found:
            pieces += [text[at : box.start], " ", box.body, " "]
            at = box.end
        text = "".join([*pieces, text[at:]]).strip()
    return text


def _ascii_math(text: str) -> str:
    for char, (top, bottom) in _FRACTION_CHARS.items():
        text = text.replace(char, f"\\frac{{{top}}}{{{bottom}}}")
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda m: "^{" + m.group().translate(_SUPERSCRIPTS) + "}", text)
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉]+", lambda m: "_{" + m.group().translate(_SUBSCRIPTS) + "}", text)
    text = text.translate(_TRANSLATION)
    text = re.sub(
        "√\\s*(?:\\(([^()]*)\\)|(\\d+|[A-Za-z]))", lambda m: f"\\sqrt{{{m.group(1) or m.group(2)}}}", text
    )
    return "".join(chr(ord(c) - 0xFEE0) if "！" <= c <= "～" else c for c in text)


def _unwrapped(text: str) -> str:
    """Remove Markdown emphasis, math delimiters and final punctuation that surround the whole text."""
    for _ in range(6):
        before = text
        text = text.strip()
        if text.endswith("\\"):
            text = text[:-1]
        if len(text) > 1 and not text.endswith("..."):
            text = text.rstrip(".;,").rstrip() or text
            text = re.sub(r"(?<=[A-Za-z]{2})!+$", "", text)  # after a number, ! is a factorial
        for mark in ("**", "__", "*", "`", '"'):
            inner = text[len(mark) : len(text) - len(mark)]
            if inner and text == f"{mark}{inner}{mark}" and (mark != "*" or "*" not in inner):
                text = inner
        for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
            inner = text[len(opening) : len(text) - len(closing)]
            if (
                len(text) > len(opening) + len(closing)
                and text.startswith(opening)
                and text.endswith(closing)
            ):
                if opening not in inner and closing not in inner:
                    text = inner
                break
        if text == before:
            break
    return text.strip()


def _plain_latex(text: str) -> str:
    text = text.replace("\\\\", "\ue002").replace(r"\{", "\ue000").replace(r"\}", "\ue001")
    if re.search(r"(?<!\\)\$.*\$", text):  # math within prose: "the total is $42$"
        text = re.sub(r"(?<!\\)\$([^$]*)\$", r" \1 ", text)
    text = _GROUPED.sub(lambda m: re.sub(r"[^0-9]", "", m.group()), text)
    text = _COMMA_SPACE.sub("", text)
    text = _COLON.sub(":", _TIGHT.sub("", text))
    for sign, names in _SIGNS.items():
        text = names.sub(sign, text)
    text = _SPACING.sub(" ", text)
    text = _SIZING.sub("", text)
    text = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", text)
    text = re.sub(r"\\mathbb\s?\{?\s?R\s?\}?", r"(-\\infty,\\infty)", text.strip())
    text = re.sub(r"^([+-]?)infinity$", r"\1\\infty", text, flags=re.IGNORECASE)
    text = re.sub(r"\\langle(?![A-Za-z])", "(", re.sub(r"\\rangle(?![A-Za-z])", ")", text))
    for _ in range(3):
        text, count = _TEXT.subn(r" \1 ", text)
        if not count:
            break
    text = re.sub(r"^\s*all real numbers\s*$", r"(-\\infty,\\infty)", text)
    text = re.sub(
        r"^\s*all real numbers(?:\s+[a-z])?\s+except(?:\s+for)?\s+(?:[a-z]\s*=\s*)?([^\sA-Za-z,;]+)\s*$",
        "(-\\\\infty,\\\\infty)\\\\setminus \ue000\\1\ue001",
        text,
    )
    text = re.sub(r"\\lg(?![A-Za-z])", r"\\log_{10}", text)
    text = text.replace(r"\%", "%").replace(r"\$", "$").replace(r"\#", "#").replace(r"\_", "_")
    text = re.sub(r"\\(?:degree|deg)(?![A-Za-z])", r"^\\circ ", text)
    text = re.sub(r"\^\s*\{\s*\\circ\s*\}", r"^\\circ ", text)
    text = re.sub(r"\\(leq|geq|neq)slant?(?![A-Za-z])|\\(le|ge|ne)q(?![A-Za-z])", _short_relation, text)
    # 0.1\dot{6}, 0.\dot{1}4285\dot{7}: dots over the first and the last digit of the period
    text = re.sub(
        r"(?<=[0-9.])\\dot\s*\{?([0-9])\}?(?:([0-9]*)\\dot\s*\{?([0-9])\}?)?(?![0-9])",
        r"\\overline{\1\2\3}",
        text,
    )
    text = re.sub(r"\\varnothing|\\empty(?![A-Za-z])", r"\\emptyset", text)
    text = re.sub(r"(?<=[a-z])_\s?(\d)(?!\d)", r"_{\1}", text)
    text = re.sub(r"\\frac\s*(\d)\s*(\d)(?!\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{", text)
    text = re.sub(r"\\frac\s*\{([^{}]*)\}\s*(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s*\{([^{}]*)\}\s*\{", r"\\frac{\1}{", text)
    text = _ROOT.sub(lambda m: f"\\sqrt{m[1] or ''}{{{m[2]}}}", text)
    text = re.sub(r"\\log\s*_\s*\{?\s*e\s*\}?(?![A-Za-z])", r"\\ln ", text)
    text = re.sub(r"\(?\s*\\[pb]?mod\s*\{?\s*([0-9]+|[a-z])\s*\}?\s*\)?", r" \\pmod{\1}", text)
    text = re.sub(r"\{\s*([^{}\\]{1,20}?)\s*\\choose\s*([^{}\\]{1,20}?)\s*\}", r"\\binom{\1}{\2}", text)
    text = re.sub(r"\\[dt]binom(?![A-Za-z])", r"\\binom", text)
    return text.replace("\ue000", r"\{").replace("\ue001", r"\}").replace("\ue002", "\\\\ ")


def _short_relation(match: re.Match[str]) -> str:
    return "\\" + (match.group(1) or match.group(2))[:2] + " "
