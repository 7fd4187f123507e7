"""Compare expressions with math-verify's LaTeX parser and SymPy, after size checks that take microseconds.

SymPy can hang or exhaust memory on `10^{10^{10}}`, `99999!` or a thousand brackets, so length, nesting depth, exponents
and factorials are limited before any parser sees the text. Expressions within the limits are evaluated at fixed points
to 30 digits, which is enough to tell expressions of this size apart; math-verify decides where that is inconclusive.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

Expression = Any
"""A SymPy expression. It is Any because SymPy is imported late and its methods have no types."""

_MAX_CHARS = 400
_MAX_DEPTH = 12
_MAX_EXPONENT_DIGITS = 4
_MAX_DIGITS = 60
_FACTORIAL = re.compile(r"([0-9]+|\)|\}|[A-Za-z])\s*!")
_POINTS = (("0.7310585786300049", "1.2"), ("-1.4142135623730951", "0.37"), ("2.2360679774997896", "-0.81"))
_DIGITS = 30
_ZERO = 100
"""A difference below 10^-100 is zero, if the numbers in it are short; see `_long_digits`."""
_SHORT_DIGITS = 20


class Refused(Exception):
    """Raised for an expression that is too large, or of a kind that is not evaluated."""


def check_size(latex: str) -> None:
    """Raise `Refused` if the expression could make a parser or an evaluator hang."""
    if len(latex) > _MAX_CHARS:
        raise Refused(f"longer than {_MAX_CHARS} characters")
    level = deepest = 0
    for char in latex:
        level += (char in "([{") - (char in ")]}")
        deepest = max(deepest, level)
    if deepest > _MAX_DEPTH:
        raise Refused(f"nested deeper than {_MAX_DEPTH}")
    if re.search(rf"[0-9]{{{_MAX_DIGITS + 1}}}", latex):
        raise Refused(f"a number of more than {_MAX_DIGITS} digits")
    for exponent in _exponents(latex):
        _check_exponent(exponent)
    if latex.count("^") > 24:
        raise Refused("too many powers")
    tight = latex.replace(" ", "")
    if re.search(r"[}!][)}]+\^|!\^", tight) and re.search(r"[0-9]{3}", tight):
        raise Refused("a power of something large")
    if r"\exp" in latex and (latex.count(r"\exp") > 2 or re.search(r"[0-9]{4}|\^\{?-?[0-9]{2}", tight)):
        raise Refused("a large exponential")
    for match in _FACTORIAL.finditer(latex):
        if not match[1].isdigit() or len(match[1]) > 3:
            raise Refused("a factorial of something large or unknown")
    if latex.count("!") > 4 or "!!" in latex.replace(" ", ""):
        raise Refused("repeated factorials")
    if re.search(r"\\(?:sum|prod|int|lim|binom)(?![A-Za-z])", latex) and re.search(r"[0-9]{4}", latex):
        raise Refused("a large sum, product or binomial")


def _check_exponent(exponent: str) -> None:
    small = re.sub(r"[A-Za-z]\s*\^\s*(?:\{\s*[0-9]\s*\}|[0-9])", " ", exponent)  # allows the x^2 in e^{-x^2}
    if "^" in small or r"\exp" in small or (small != exponent and re.search(r"[0-9]{3}", small)):
        raise Refused("a power in an exponent")
    if (
        re.search(rf"[0-9]{{{_MAX_EXPONENT_DIGITS + 1}}}", small)
        or _product(small) > 10**_MAX_EXPONENT_DIGITS
    ):
        raise Refused(f"an exponent above {10**_MAX_EXPONENT_DIGITS}")


def same(reference: str, candidate: str) -> bool:
    """Return True if both LaTeX expressions are equal for all values of their variables.

    Raises `Refused` if either expression is too large.
    """
    a, b = parsed(reference), parsed(candidate)
    if a is None or b is None:
        return False
    if not (_is_plain(a) and _is_plain(b)):
        return _verified(a, b)
    if a.free_symbols != b.free_symbols:
        return _is_equal_everywhere(a, b) is True
    decided = _is_equal_everywhere(a, b)
    return _verified(a, b) if decided is None else decided


def near(reference: str, value: Fraction, decimals: int) -> bool:
    """Return True if `value` is the number `reference` rounded or truncated to `decimals` decimal places.

    Raises `Refused` if the expression is too large.
    """
    expression = parsed(reference)
    if expression is None or not _is_plain(expression) or expression.free_symbols:
        return False
    exact = expression.evalf(_DIGITS)
    if not exact.is_Float and not exact.is_Integer and not exact.is_Rational:
        return False
    return "e" not in str(exact) and rounds_to(Fraction(str(exact)), value, decimals)


def real_number(latex: str) -> Fraction | None:
    """Return the value of a real constant to 30 digits, or None if the expression is anything else.

    Raises `Refused` if the expression is too large.
    """
    expression = parsed(latex)
    if expression is None or not _is_plain(expression) or expression.free_symbols:
        return None
    exact = expression.evalf(_DIGITS)
    return Fraction(str(exact)) if exact.is_Float or exact.is_Integer or exact.is_Rational else None


def rounds_to(exact: Fraction, value: Fraction, decimals: int) -> bool:
    """Return True if `value` is `exact` rounded to nearest or truncated to `decimals` places, but not rounded up."""
    scaled, digits = exact * 10**decimals, value * 10**decimals
    return abs(scaled - digits) * 2 <= 1 or (
        abs(digits) < abs(scaled) < abs(digits) + 1 and scaled * digits >= 0
    )


def proportional(a_left: str, a_right: str, b_left: str, b_right: str, positive: bool) -> bool:
    """Return True if a_left − a_right is a constant times b_left − b_right, so that both are the same relation.

    If `positive`, the constant must be positive, as inequalities require. Raises `Refused` if a side is too large.
    """
    sides = [parsed(side) for side in (a_left, a_right, b_left, b_right)]
    if any(side is None or not _is_plain(side) for side in sides):
        return False
    a, b = sides[0] - sides[1], sides[2] - sides[3]
    if a.free_symbols != b.free_symbols or not a.free_symbols:
        return False
    ratios = []
    for point in _points(a.free_symbols):
        numerator, denominator = _at(a, point), _at(b, point)
        if numerator is None or denominator is None or abs(denominator) < 1e-20 or abs(numerator) < 1e-20:
            return False
        ratios.append(numerator / denominator)
    scale = ratios[0]
    return all(abs(r - scale) < 1e-20 * abs(scale) for r in ratios) and (
        not positive or complex(scale).real > 0
    )


@lru_cache(maxsize=4096)
def parsed(latex: str) -> Expression:
    """Parse LaTeX to a SymPy expression; return None if math-verify's LaTeX parser does not understand it.

    This bypasses `math_verify.parse`, whose defaults would turn "1st" into 1 and X into x. Raises `Refused` if the
    expression is too large.
    """
    check_size(latex)
    from latex2sympy2_extended import NormalizationConfig, latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from math_verify.grader import should_treat_as_complex

    try:
        found = latex2sympy(
            latex,
            is_real=not should_treat_as_complex(latex),
            normalization_config=NormalizationConfig(
                basic_latex=True,
                units=False,
                malformed_operators=True,
                nits=True,
                boxed="none",
                equations=False,
            ),
            conversion_config=ConversionConfig(lowercase_symbols=False),
        )
    except Exception:  # the generated parser can raise anything; all of it means "not understood"
        return None
    return _with_imaginary_unit(_exact(found))


def _exact(expression: object) -> Expression:
    """Replace decimals by exact fractions: 0.5 becomes one half, not a float of 15 digits."""
    import sympy

    if not isinstance(expression, sympy.Expr) or not expression.has(sympy.Float):
        return expression
    return expression.xreplace(
        {number: sympy.Rational(str(number)) for number in expression.atoms(sympy.Float)}
    )


def _with_imaginary_unit(expression: object) -> Expression:
    """Replace the variable i, which the parser leaves as it is, by the imaginary unit."""
    import sympy

    if not isinstance(expression, sympy.Expr):
        return expression
    return expression.subs({symbol: sympy.I for symbol in expression.free_symbols if str(symbol) == "i"})


def _verified(a: object, b: object) -> bool:
    from math_verify import verify

    return bool(verify(a, b, float_rounding=12, numeric_precision=_DIGITS, timeout_seconds=None))


def _is_plain(expression: object) -> bool:
    import sympy

    return isinstance(expression, sympy.Expr) and not expression.has(sympy.nan, sympy.zoo)


def _is_equal_everywhere(a: Expression, b: Expression) -> bool | None:
    """Return whether a equals b at all points of evaluation, or None if too few points could be evaluated.

    Rational numbers are compared exactly. SymPy raises its precision to make up for digits that cancel, so a nonzero
    difference of other constants is found and a zero one evaluates to less than 10^-100. The points for variables have
    only 40 digits, so there the difference must be below 1e-34, or below 1e-30 times the larger side. That factor is at
    most 1, and it follows small sides down because constants of nature are small. All of these bounds shrink by the
    digits of long numbers, which can make a difference that small without being zero.
    """
    import sympy

    a, b = _worked_out(a), _worked_out(b)
    difference = a - b
    if isinstance(difference, sympy.Rational):
        return bool(difference == 0)
    extra = _long_digits(a) + _long_digits(b)
    points = _points(a.free_symbols | b.free_symbols, 40 + extra)
    values = [(_at(difference, point, extra), point) for point in points]
    known = [(value, point) for value, point in values if value is not None]
    if len(known) < min(2, len(values)):
        return None
    small, smaller = sympy.Float(f"1e-{34 + extra}"), sympy.Float(f"1e-{_ZERO + 2 * extra}")
    return all(
        abs(value) < smaller
        or (point and abs(value) < small)
        or (
            point
            and abs(value) < small * 10**4 * min(1, max(abs(_at(a, point) or 0), abs(_at(b, point) or 0)))
        )
        for value, point in known
    )


def _worked_out(expression: Expression) -> Expression:
    """Evaluate factorials and binomials of numbers, which the parser leaves as they are."""
    try:
        return expression.doit()
    except (ArithmeticError, TypeError, ValueError, AttributeError, NotImplementedError, RecursionError):
        return expression


def _long_digits(expression: Expression) -> int:
    """Return the number of digits of all numbers in the expression, powers worked out, beyond the first 20.

    Raises `Refused` if there are more than 40,000.
    """
    import sympy

    digits = 0
    for number in expression.atoms(sympy.Rational):
        digits += (int(number.p).bit_length() + int(number.q).bit_length()) * 3 // 10
    for power in expression.atoms(sympy.Pow):
        if power.exp.is_Rational and power.base.is_number and abs(power.exp) > 1:
            size = abs(power.base.evalf(15))
            digits += int(abs(power.exp) * abs(sympy.log(size, 10).evalf(15))) if size else 0
    for power in expression.atoms(sympy.exp):
        if power.args[0].is_number:
            digits += int(abs(power.args[0].evalf(15)) / 2)
    if digits > 40_000:
        raise Refused("numbers of too many digits")
    return max(0, digits - _SHORT_DIGITS)


def _points(symbols: set[Expression], digits: int = 40) -> list[dict[Expression, Expression]]:
    import sympy

    ordered = sorted(symbols, key=str)
    if not ordered:
        return [{}]
    return [
        {
            symbol: sympy.Float(start, digits) + number * sympy.Float(shift, digits)
            for number, symbol in enumerate(ordered)
        }
        for start, shift in _POINTS
    ]


def _at(expression: Expression, point: dict[Expression, Expression], extra: int = 0) -> Expression:
    """Evaluate at `point` to 30 digits and `extra` more; return None if the result is not a finite number.

    Points hold floats, never exact numbers, because exact arithmetic can blow up.
    """
    try:
        value = expression.doit().evalf(_DIGITS + extra * bool(point), subs=point, maxn=200 + 3 * extra)
        return value if value.is_number and value.is_finite else None
    except (ArithmeticError, TypeError, ValueError, AttributeError, NotImplementedError, RecursionError):
        return None


def _exponents(latex: str) -> list[str]:
    """Return the text of every exponent, up to its matching brace or parenthesis."""
    found: list[str] = []
    for match in re.finditer(r"\^\s*", latex):
        at = match.end()
        if at < len(latex) and latex[at] in "{(":
            level, end = 0, at
            while end < len(latex):
                level += (latex[end] in "{(") - (latex[end] in "})")
                end += 1
                if level == 0:
                    break
            found.append(latex[at + 1 : end - 1])
        else:
            found.append(latex[at : at + 1])
    return found


def _product(exponent: str) -> int:
    """Return an upper bound on an exponent that multiplies or adds numbers."""
    product = 1
    for number in re.findall(r"[0-9]+", exponent)[:20]:
        product *= max(int(number[:12]), 2)
    return (
        product
        if len(re.findall(r"[0-9]+", exponent)) > 1
        else int((re.findall(r"[0-9]+", exponent) or ["0"])[0][:12])
    )
