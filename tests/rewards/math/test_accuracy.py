import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.math.accuracy import accuracy, committed_answer, is_correct, warm_up
from rewards.math.compare import compare
from rewards.math.parse import parse
from rewards.math.text import clean
from rewards.rows import RewardRow
from tests.rewards.math.math_cases import TABLE, WITH_CONTEXT
from tests.rewards.math.math_cases_more import TABLE as MORE


def _cases():
    for line in TABLE.strip().splitlines():
        reference, answer, right = line.split(" ¦ ")
        yield reference, answer, right == "1"


@pytest.fixture(scope="module", autouse=True)
def _warm():
    warm_up()


def _score(answer, reference, prompt=""):
    return accuracy(RewardRow(f"<think>t</think><answer>{answer}</answer>", prompt=prompt, answer=reference))


def test_table_is_large_enough():
    assert len(list(_cases())) + len(WITH_CONTEXT) >= 440


@pytest.mark.parametrize(("reference", "answer", "right"), list(_cases()))
def test_answers_alone(reference, answer, right):
    score = _score(answer, reference)
    assert (score.total, score.verdict) == (float(right), "ok"), score.reason


@pytest.mark.parametrize(("prompt", "reference", "answer", "right"), WITH_CONTEXT)
def test_answers_in_context(prompt, reference, answer, right):
    score = _score(answer, reference, prompt)
    if reference == "":
        assert score.verdict == "abstain"
    else:
        assert (score.total, score.verdict) == (float(right), "ok"), score.reason


@pytest.mark.parametrize("line", MORE.strip().splitlines())
def test_answers_to_questions(line):
    reference, answer, right, *prompt = line.split(" ¦ ")
    score = _score(answer, reference, *prompt)
    assert (score.total, score.verdict) == (float(right), "ok"), score.reason


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (r"-\boxed{42}", False), (r"\boxed{42}\% of them", False), (r"x \ge \boxed{42}", False),
        (r"\sqrt{\boxed{42}} ✓", False), (r"10^{\boxed{42}}", False), (r"It is at least $\boxed{42}$", False),
        (r"\boxed{42} million people", False), (r"It cannot be \boxed{42}", False), (r"\boxed{42} is wrong.", False),
        (r"\boxed{42}?", False), (r"$\boxed{42}\pi$", False), (r"\frac{1}{\boxed{42}}", False),
        (r"so there are $\boxed{42}$ such numbers.", True), (r"Hence $x = 6 \cdot 7 = \boxed{42}$.", True),
        (r"- **Answer:** \boxed{42}", True), (r"$\text{the answer is } \boxed{42}$ ✓", True),
        (r"(b) \boxed{42}", True), (r"\boxed{42} a day", True), (r"\boxed{42} in total", True),
        (r"\begin{align*} A &= 2 \\ &= \boxed{42}. \end{align*}", True), (r"x+1=43 \implies x = \boxed{42}", True),
    ],
)  # fmt: skip
def test_what_stands_beside_the_box_counts_where_it_changes_the_value(text, right):
    for completion in (f"<think>t</think>Let us see.\n\n{text}", f"<think>t</think><answer>{text}</answer>"):
        assert accuracy(RewardRow(completion, answer="42")).total == float(right)


@pytest.mark.parametrize("reference", [None, "", [], " ", "\n", "$$"])
def test_no_reference_abstains(reference):
    score = _score("42", reference)
    assert (score.total, score.verdict) == (None, "abstain")


@pytest.mark.parametrize("reference", [{"a": 1}, float("nan"), float("inf"), [[1]], [None]])
def test_reference_of_another_kind_is_an_error_not_a_zero(reference):
    assert _score("42", reference).verdict == "error"


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"<think>\boxed{1}</think> so \boxed{2}", "2"),
        (r"first \boxed{1}, after checking the sum again \boxed{2}", "2"),
        (r"\boxed{2} as computed, so the result is \boxed{2}", "2"),
        (r"\boxed{1} or \boxed{2}", None),
        (r"\boxed{1} \boxed{2}", None),
        (r"\boxed{1}, \boxed{2}", None),
        (r"It is \boxed{1}. Or maybe it is \boxed{2}", None),
        (r"a \boxed{1} b b b b \boxed{2} c c c c \boxed{3} d d d d \boxed{4}", None),
        (r"The answer is not \boxed{2}", None),
        (r"<answer>\boxed{1} \boxed{2}</answer>", None),
        (r"<answer>\boxed{2} \boxed{2}</answer>", "2"),
        ("<answer>" + "7" * 3000 + "</answer>", None),
        ("nothing", None),
    ],
)
def test_one_committed_answer(completion, answer):
    assert committed_answer(completion)[0] == answer


@pytest.mark.parametrize(
    "value", ["(0,1)", "[0,1)", r"\{1,2\}", "1, 2", r"\frac{x}{2}", "5 cm", "x > 3", "10:30", "Paris"]
)
def test_values_equal_themselves(value):
    assert compare(parse(clean(value)), parse(clean(value))) > 0


@settings(deadline=None)
@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_integers_agree_with_python(a, b):
    assert is_correct(str(a), f"{b}")[0] == (a == b)
    assert is_correct(a, f" {b:,}. ")[0] == (a == b)


@settings(deadline=None)
@given(st.fractions(max_denominator=500), st.fractions(max_denominator=500))
def test_fractions_agree_with_python(a, b):
    written = rf"\frac{{{b.numerator}}}{{{b.denominator}}}"
    assert is_correct(f"{a.numerator}/{a.denominator}", written)[0] == (a == b)


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(0, 30), st.integers(2, 30))
def test_mixed_numbers_agree_with_python(whole, top, bottom):
    if 0 < top < bottom:
        assert is_correct(f"{whole * bottom + top}/{bottom}", rf"{whole}\frac{{{top}}}{{{bottom}}}")[0]
        assert is_correct(f"{whole} {top}/{bottom}", f"{whole * bottom + top}/{bottom}")[0]


def test_what_stands_around_the_question_is_not_the_question():
    """An answer that a worked example gives, too, does not repeat the question; one that the question gives does."""
    shown = "Simplify $\\sqrt{12}$. It is $\\boxed{2\\sqrt{3}}$.\n"
    reply = r"\boxed{2\sqrt{3}}"
    for question, right in (
        ("How long is the diagonal of a cube of side 2?", 1.0),
        ("Simplify $2\\sqrt3$.", 0.0),
    ):
        row = RewardRow(reply, shown + question, r"\sqrt{12}", {"question": question})
        assert accuracy(row).total == right
        assert accuracy(RewardRow(reply, question, r"\sqrt{12}")).total == right


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_two_candidates_never_score(a, b):
    for hedge in (f"{a} or {b}", f"{a}, {b}", f"{a} and {b}", f"{a}/{b} or {b}", f"{a} ({b})", f"{a}\n{b}"):
        if a != b:
            assert not is_correct(str(a), hedge)[0], hedge


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_any_text_gets_a_verdict_and_never_passes_for_an_unlikely_number(text):
    score = _score(text, "918273645")
    assert score.verdict == "ok"
    assert score.total == 0.0 or "918273645" in text


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=r"\{}()[]^_$,.0123456789xyfracsqt+-*/=<>!% ", max_size=60))
def test_latex_like_noise_gets_a_verdict(text):
    assert _score(text, r"\frac{x}{2}").verdict in ("ok", "timeout")
