"""MATH, GSM8K, AIME, NuminaMath and OpenR1, verl's rows, and plain questions with answers.

    from_gsm8k("a.jsonl, line 1", {"question": "…", "answer": "… #### 1,080"})       Built("math", "…", answer="1080")

Proofs have no answer that a rule could compare; R1 leaves them out (table 4).
"""

from __future__ import annotations

import re

from data_recipes.builders.formats.built import Built, LeftOut
from data_recipes.builders.formats.fields import any_text, number, optional, reference, text
from data_recipes.errors import DataError
from data_recipes.fields import MISSING, Row, look_up, show
from data_recipes.prompts.datasets import strip_thousands
from rewards.text.extract import boxes

NO_ANSWER = frozenset({"proof", "notfound", "not found", "none", "n/a", "see solution"})
"""What NuminaMath writes where there is no answer to compare with."""
_PROOF = re.compile(r"^\W*(?:prove|show) that\b|^\W*(?:试?证明|求证)", re.IGNORECASE)
_CALCULATION = re.compile(r"<<[^<>]*>>")
_LAST_LINE = re.compile(r"####[ \t]*(\S.*)\Z")


def from_math(where: str, row: Row) -> Built:
    """MATH and MATH-500: problem, solution, answer; without an answer it is the solution's last box."""
    problem, solution = text(where, row, "problem"), optional(where, row, "solution")
    if look_up(row, "answer") not in (MISSING, None, ""):
        return Built("math", problem, answer=reference(where, row, "answer"), solution=solution)
    if solution is None:
        raise DataError(f"{where}: neither answer nor solution; there are {', '.join(map(str, row))}")
    return Built("math", problem, answer=_boxed(where, "solution", solution), solution=solution)


def from_gsm8k(where: str, row: Row) -> Built:
    """GSM8K: question, answer with the result behind ####."""
    question, worked = text(where, row, "question"), text(where, row, "answer")
    found = _LAST_LINE.search(worked)
    if found is None:
        raise DataError(f"{where}: answer = {show(worked[-80:])}; expected a last line #### RESULT")
    solution = _CALCULATION.sub("", worked[: found.start()]).strip() or None
    return Built("math", question, answer=strip_thousands(found[1].strip()), solution=solution)


def from_aime(where: str, row: Row) -> Built:
    """AIME: problem and answer, or Question, Answer and Year (1983 to 2024); answers are below 1,000."""
    problem = any_text(where, row, ("problem", "Question"))
    name = "Answer" if look_up(row, "answer") is MISSING else "answer"
    year = next((key for key in ("Year", "year") if look_up(row, key) not in (MISSING, None, "")), None)
    return Built(
        "math",
        problem,
        answer=str(number(where, row, name, 0, 999)),
        solution=optional(where, row, "solution"),
        year=None if year is None else number(where, row, year, 1900, 2100),
    )


def from_numina(where: str, row: Row) -> Built:
    """NuminaMath (1.5, CoT) and OpenR1-Math: problem, solution, answer, question_type, problem_is_valid."""
    for name in ("problem_is_valid", "solution_is_valid"):
        if look_up(row, name) not in (MISSING, None, "Yes"):
            raise LeftOut("invalid")
    kind = str(look_up(row, "question_type")).lower()
    problem = text(where, row, "problem")
    if kind == "proof" or _PROOF.search(problem):
        raise LeftOut("proof")
    if kind == "mcq":
        raise LeftOut("multiple_choice")
    solution = optional(where, row, "solution")
    answer = optional(where, row, "answer")
    if answer is None and look_up(row, "answer") is MISSING and solution is not None:
        found = boxes(solution)
        answer = found[-1].body.strip() if found else None
    if not answer or answer.strip(" .").lower() in NO_ANSWER:
        raise LeftOut("no_answer")
    return Built("math", problem, answer=answer, solution=solution)


def from_verl(where: str, row: Row) -> Built:
    """verl's rows (DAPO, DeepScaleR): prompt of one user's message, reward_model.ground_truth."""
    prompt = look_up(row, "prompt")
    if isinstance(prompt, list):
        if len(prompt) != 1 or not isinstance(prompt[0], dict) or prompt[0].get("role") != "user":
            raise DataError(f"{where}: prompt = {show(prompt)}; expected one message of the user")
        question = text(where, prompt[0], "content")
    else:
        question = text(where, row, "prompt")
    return Built("math", question, answer=reference(where, row, "reward_model.ground_truth"))


def from_questions(where: str, row: Row) -> Built:
    """Any rows with question or problem, and answer; also those of reasoning-gym."""
    question = any_text(where, row, ("question", "problem"))
    if _PROOF.search(question):
        raise LeftOut("proof")
    return Built(
        "math", question, answer=reference(where, row, "answer"), solution=optional(where, row, "solution")
    )


def _boxed(where: str, name: str, solution: str) -> str:
    found = boxes(solution)
    if not found or not found[-1].body.strip():
        raise DataError(f"{where}: {name} has no \\boxed answer: {show(solution[-80:])}")
    return found[-1].body.strip()
