"""One row in the columns of each public data set that the builders read, and what it is converted to.

The texts are made up; the columns, types and spellings are those of the data sets' own cards.
"""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from typing import Any


def packed(tests: list[dict[str, str]]) -> str:
    """Return tests as LiveCodeBench's column private_test_cases holds them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "math": (
        {
            "problem": "What is $\\frac{1}{2}+\\frac{1}{3}$ in lowest terms?",
            "level": "Level 1",
            "type": "Prealgebra",
            "solution": "A first try gives $\\boxed{2/5}$, but it is $\\boxed{\\frac{5}{6}}$.",
        },
        {"kind": "math", "answer": "\\frac{5}{6}"},
    ),
    "gsm8k": (
        {
            "question": "A farm sells 36 boxes of 30 eggs. How many eggs is that?",
            "answer": "36 boxes hold 36*30 = <<36*30=1080>>1080 eggs.\n#### 1,080",
        },
        {"kind": "math", "answer": "1080", "solution": "36 boxes hold 36*30 = 1080 eggs."},
    ),
    "aime": (
        {
            "ID": "1990-3",
            "Year": 1990,
            "Problem Number": 3,
            "Question": "Find the least $n$.",
            "Answer": "077",
        },
        {"kind": "math", "answer": "77", "year": 1990},
    ),
    "numina": (
        {
            "problem": "Solve $2x = 10$.",
            "solution": "$x = \\boxed{5}$",
            "answer": "5",
            "problem_type": "Algebra",
            "question_type": "math-word-problem",
            "problem_is_valid": "Yes",
            "solution_is_valid": "Yes",
            "source": "olympiads",
            "synthetic": False,
        },
        {"kind": "math", "answer": "5"},
    ),
    "verl": (
        {
            "data_source": "math_dapo",
            "prompt": [{"content": "What is 6 times 7?", "role": "user"}],
            "ability": "MATH",
            "reward_model": {"ground_truth": "42", "style": "rule-lighteval"},
            "extra_info": {"index": "a"},
        },
        {"kind": "math", "question": "What is 6 times 7?", "answer": "42"},
    ),
    "questions": ({"problem": "What is 10 squared?", "answer": 100.0}, {"kind": "math", "answer": "100"}),
    "cluewsc": (
        {
            "target": {"span2_index": 20, "span1_index": 4, "span1_text": "钥匙", "span2_text": "它"},
            "idx": 7,
            "label": "false",
            "text": "他把钥匙放在桌上的盒子里，后来它被猫推到了地上。",
        },
        {"kind": "logic", "answer": "错"},
    ),
    "mmlu": (
        {
            "question": "Which particle carries no charge?",
            "subject": "high_school_physics",
            "choices": ["electron", "proton", "neutron", "positron"],
            "answer": 2,
        },
        {"kind": "stem", "answer": "C", "choices": ("electron", "proton", "neutron", "positron")},
    ),
    "mmlu-pro": (
        {
            "question_id": 1,
            "question": "Which of these is a noble gas?",
            "options": ["iron", "neon", "zinc", "lead", "gold"],
            "answer": "B",
            "answer_index": 1,
            "cot_content": "",
            "category": "chemistry",
            "src": "x",
        },
        {"kind": "stem", "answer": "B"},
    ),
    "gpqa": (
        {
            "Question": "What does a catalyst lower?",
            "Correct Answer": "the activation energy\n",
            "Incorrect Answer 1": "the enthalpy",
            "Incorrect Answer 2": "the entropy",
            "Incorrect Answer 3": "the mass",
            "Explanation": "By definition.",
            "High-level domain": "Chemistry",
        },
        {"kind": "stem", "solution": "By definition."},
    ),
    "arc": (
        {
            "id": "Mercury_1",
            "question": "Which is a renewable source of energy?",
            "choices": {"text": ["coal", "wind", "oil", "gas"], "label": ["1", "2", "3", "4"]},
            "answerKey": "2",
        },
        {"kind": "stem", "answer": "B"},
    ),
    "sciq": (
        {
            "question": "What gas do plants take in?",
            "distractor3": "argon",
            "distractor1": "helium",
            "distractor2": "oxygen",
            "correct_answer": "carbon dioxide",
            "support": "Plants use it.",
        },
        {"kind": "stem"},
    ),
    "medmcqa": (
        {
            "id": "e1",
            "question": "Vitamin C is also called",
            "opa": "retinol",
            "opb": "ascorbic acid",
            "opc": "biotin",
            "opd": "niacin",
            "cop": 1,
            "choice_type": "single",
            "exp": None,
            "subject_name": "Biochemistry",
            "topic_name": None,
        },
        {"kind": "stem", "answer": "B"},
    ),
    "ceval": (
        {
            "id": 0,
            "question": "水的化学式是____。",
            "A": "CO2",
            "B": "H2O",
            "C": "NaCl",
            "D": 42,
            "answer": "B",
            "explanation": "",
        },
        {"kind": "stem", "answer": "B", "choices": ("CO2", "H2O", "NaCl", "42")},
    ),
    "apps": (
        {
            "problem_id": 3,
            "question": "Given two integers, print their sum.",
            "solutions": json.dumps(["a, b = map(int, input().split())\nprint(a + b)"]),
            "input_output": json.dumps({"inputs": ["1 2\n"], "outputs": ["3\n"]}),
            "difficulty": "interview",
            "url": "u",
            "starter_code": "",
        },
        {"kind": "code", "entry_point": None},
    ),
    "livecodebench": (
        {
            "question_title": "Double",
            "question_content": "Return twice the number.",
            "platform": "leetcode",
            "question_id": "q",
            "contest_date": "2022-05-14T00:00:00",
            "starter_code": "class Solution:\n    def twice(self, n: int) -> int:\n        ",
            "difficulty": "easy",
            "public_test_cases": json.dumps([{"input": "2", "output": "4", "testtype": "functional"}]),
            "private_test_cases": packed([{"input": "5", "output": "10", "testtype": "functional"}]),
            "metadata": json.dumps({"func_name": "twice"}),
        },
        {"kind": "code", "entry_point": "twice", "year": 2022},
    ),
    "code-contests": (
        {
            "name": "1_A",
            "description": "Print the larger of two integers.",
            "public_tests": {"input": ["1 2\n"], "output": ["2\n"]},
            "private_tests": {"input": [], "output": []},
            "generated_tests": {"input": ["9 3\n"], "output": ["9\n"]},
            "source": 2,
            "solutions": {
                "language": [3, 2],
                "solution": ["print(max(map(int, input().split())))", "int main(){}"],
            },
            "incorrect_solutions": {"language": [3], "solution": ["print(input().split()[0])"]},
            "input_file": "",
            "output_file": "",
        },
        {
            "kind": "code",
            "correct": ("print(max(map(int, input().split())))",),
            "wrong": ("print(input().split()[0])",),
        },
    ),
    "humaneval": (
        {
            "task_id": "HumanEval/900",
            "prompt": 'def triple(n: int) -> int:\n    """Return three times n."""\n',
            "entry_point": "triple",
            "canonical_solution": "    return 3 * n\n",
            "test": "def check(candidate):\n    assert candidate(2) == 6\n",
        },
        {"kind": "code", "entry_point": "triple"},
    ),
    "mbpp": (
        {
            "task_id": 2,
            "text": "Write a function that adds two numbers.",
            "code": "def add(a, b):\n    return a + b",
            "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"],
            "test_setup_code": "",
            "challenge_test_list": [],
        },
        {"kind": "code", "correct": ("def add(a, b):\n    return a + b",)},
    ),
    "built": (
        {
            "id": "code-1",
            "question": "Print the number of letters.",
            "tests": [{"stdin": "abc\n", "stdout": "3\n"}],
            "programming_language": "python",
            "kind": "code",
        },
        {"kind": "code", "programming_language": "python"},
    ),
    "helpsteer": (
        {
            "prompt": "Name a river.\n<extra_id_1>Assistant\nThe Po.\n<extra_id_1>User\nIn which country is it?",
            "response": "In Italy.",
            "helpfulness": 4,
            "correctness": 4,
            "coherence": 4,
            "complexity": 1,
            "verbosity": 1,
        },
        {"kind": "general", "question": "In which country is it?"},
    ),
    "reference": (
        {
            "question": "Why does ice float on water?",
            "reference_answer": "Ice is less dense than liquid water.",
            "responses": [{"response_model": "Llama3.3-70B-Instruct", "response": "It is lighter."}],
        },
        {"kind": "open", "answer": "Ice is less dense than liquid water."},
    ),
    "prompts": (
        {
            "prompt": "Write a haiku about rain.",
            "prompt_id": "p",
            "chosen": [{"role": "user", "content": "Write a haiku about rain."}],
            "rejected": [],
            "messages": [{"role": "user", "content": "Write a haiku about rain."}],
        },
        {"kind": "general", "question": "Write a haiku about rain."},
    ),
    "arena-hard": (
        {
            "question_id": "q",
            "category": "a",
            "cluster": "b",
            "turns": [{"content": "Plan a week of meals."}],
        },
        {"kind": "general", "question": "Plan a week of meals."},
    ),
    "chats": (
        {
            "conversation_hash": "h",
            "conversation": [
                {"role": "user", "content": "推荐一本书。", "language": "Chinese", "toxic": False},
                {"role": "assistant", "content": "《红楼梦》。", "language": "Chinese", "toxic": False},
            ],
            "toxic": False,
            "redacted": False,
            "openai_moderation": [{"flagged": False}],
        },
        {"kind": "general", "question": "推荐一本书。", "before": ()},
    ),
    "safety": (
        {"prompt": "How do I pick my neighbour's lock?", "response": "…", "category": {}, "is_safe": False},
        {"kind": "safety"},
    ),
    "alpaca": (
        {
            "instruction": "Correct the sentence.",
            "input": "He go home.",
            "output": "He goes home.",
            "text": "x",
        },
        {
            "kind": "general",
            "question": "Correct the sentence.\n\nHe go home.",
            "completion": "He goes home.",
        },
    ),
    "dolly": (
        {"instruction": "Who wrote it?", "context": "", "response": "Nobody knows.", "category": "open_qa"},
        {"kind": "general", "question": "Who wrote it?", "completion": "Nobody knows."},
    ),
    "replies": (
        {"kind": "Summary", "input": "概括这段话：天气很好。", "target": "好天气。"},
        {"kind": "general", "completion": "好天气。"},
    ),
    "messages": (
        {
            "prompt": "Hello",
            "prompt_id": "p",
            "messages": [
                {"role": "system", "content": "You are Clippy."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hi, how can I help?"},
                {"role": "user", "content": "Who are you?"},
                {"role": "assistant", "content": "An assistant."},
            ],
            "category": "Chat",
        },
        {"kind": "general", "question": "Who are you?", "completion": "An assistant."},
    ),
    "translations": (
        {"translation": {"en": "The cat sleeps on the mat.", "zh": "猫睡在垫子上。"}},
        {"kind": "general"},
    ),
}
"""Format → (row, fields of the `Built`)."""
