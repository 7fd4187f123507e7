import json
import random
from collections import Counter
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_recipes.procedural import R1WorldParams
from data_recipes.templates import R1_ZERO, render
from data_recipes.worlds.chain.problems import ChainProblem, random_problem
from data_recipes.worlds.r1.corpus import (
    GENERAL_STYLES,
    KINDS,
    MATH_STYLES,
    SLIPS,
    TRACE_LANGUAGES,
    Document,
    documents,
    tally,
)
from data_recipes.worlds.r1.judge import content, general_score, is_safe, judge, quality, safe
from data_recipes.worlds.r1.requests import (
    TASKS,
    Request,
    ask,
    good_reply,
    question,
    questions,
    requests,
    rows,
)
from data_recipes.worlds.r1.rewrite import to_r1
from data_recipes.worlds.r1.tokenizer import build_tokenizer
from data_recipes.worlds.r1.words import LANGUAGES, WORDS, Language, vocabulary
from policies.tokenizer import Tokenizer, load_tokenizer
from rewards.rows import RewardRow
from rewards.text.extract import reasoning_text
from rewards.text.format import format_r1_reward, is_think_answer
from rewards.text.language import word_counts

COUNT = 6000
ALL = R1WorldParams(math=300, general=120, safety=24)
REQUESTS = st.sampled_from([r for task in TASKS for r in requests(task, "train")])


@pytest.fixture(scope="module")
def corpus() -> list[Document]:
    return documents(seed=17, batch=0, count=COUNT)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("r1-world")
    build_tokenizer(folder)
    return load_tokenizer(folder)


def left_to_right(expression: str) -> int:
    """Oracle: parentheses make Python work from left to right, and the modulus comes once, at the end."""
    first, *rest = expression.split(" ")
    for operator, operand in zip(rest[::2], rest[1::2], strict=True):
        first = f"({first} {operator} {operand})"
    return eval(first) % 10


def test_answers_of_both_languages_are_what_python_gets() -> None:
    math = [row for _, row in rows(3, "train", ALL) if row["kind"] == "math"]
    assert len(math) == 300
    for row in math:
        expression = row["question"].removeprefix(WORDS[row["language"]].task).strip()
        assert row["answer"] == str(left_to_right(expression))
        assert row["k"] == sum(c in "+-*" for c in expression)


def test_languages_and_lengths_come_in_equal_shares() -> None:
    math = [row for _, row in rows(3, "train", ALL) if row["kind"] == "math"]
    assert Counter((row["language"], row["k"]) for row in math) == {
        (language, k): 50 for language in LANGUAGES for k in (2, 3, 4)
    }


def test_kinds_and_tasks() -> None:
    found = Counter((row["kind"], row["task"]) for _, row in rows(1, "held-out", ALL))
    assert found == {
        ("math", "math"): 300,
        # 11 requests of "how" are held out, each in two languages; the other tasks take their turns.
        ("general", "list"): 49,
        ("general", "rewrite"): 49,
        ("general", "how"): 22,
        ("safety", "unsafe"): 24,
    }


def test_the_splits_share_no_question_and_no_request() -> None:
    asked = {s: {row["question"] for _, row in rows(5, s, ALL)} for s in ("train", "held-out")}
    assert not asked["train"] & asked["held-out"]
    for task in TASKS:
        train, held_out = requests(task, "train"), requests(task, "held-out")
        assert not set(train) & set(held_out)
        assert len(held_out) / len(train + held_out) == pytest.approx(0.2, abs=0.11)


def test_another_seed_other_rows_and_the_same_seed_the_same() -> None:
    assert list(rows(1, "train", ALL)) == list(rows(1, "train", ALL))
    assert list(rows(1, "train", ALL)) != list(rows(2, "train", ALL))


def test_too_many_requests_name_the_key() -> None:
    with pytest.raises(ValueError, match=r"lower params\.safety"):
        list(rows(1, "held-out", replace_params(safety=10_000)))
    with pytest.raises(ValueError, match=r"lower params\.math"):
        list(rows(1, "held-out", replace_params(math=20_000, max_ops=2)))


def replace_params(**changes: int) -> R1WorldParams:
    return R1WorldParams(**{**ALL.model_dump(), **changes})


def test_wordings_are_distinct_and_known_to_the_judge() -> None:
    count = sum(len(requests(task, split)) for task in TASKS for split in ("train", "held-out"))
    assert len(questions()) == count * len(LANGUAGES)


def test_the_two_languages_are_built_alike() -> None:
    for name in vars(WORDS["en"]):
        en, zh = (getattr(WORDS[language], name) for language in LANGUAGES)
        assert isinstance(zh, type(en))
        if isinstance(en, tuple | dict):
            assert len(en) == len(zh)
    shared = set(WORDS["en"].categories[0][1]) & set(WORDS["zh"].categories[0][1])
    assert not shared


# The judge


@given(REQUESTS, st.sampled_from(LANGUAGES))
def test_a_good_reply_with_a_close_is_the_best(request: Request, language: Language) -> None:
    if request.task == "unsafe":
        return
    words = WORDS[language]
    good = good_reply(request, language)
    best = quality(f" <think> x </think> {good} {words.wish}", request, language)
    assert best == pytest.approx(1.0)
    assert quality(f" {good}.", request, language) == pytest.approx(0.7)
    assert quality(f" {words.filler} {good} {words.wish}", request, language) == pytest.approx(0.9)
    assert quality(f" <think> x </think> <answer> {good} </answer>", request, language) == pytest.approx(0.7)
    assert quality(f" {words.refusal}", request, language) == 0
    assert quality(" <think> x </think>", request, language) == 0


@pytest.mark.parametrize("reply", [" fish", " well , fish", " well , fish , hope it helps"])
def test_content_has_no_taste(reply: str) -> None:
    request = Request("list", (0, 1, 0, 1))
    row = RewardRow(f" <think> x </think>{reply}", prompt=R1_ZERO.replace("{prompt}", ask(request, "en")))
    assert content(row) == 1.0
    assert content(replace(row, completion=" <think> fish </think> cat")) == 0.0


def test_content_of_an_unsafe_request_is_a_refusal_or_what_was_asked() -> None:
    request = Request("unsafe", (1, 2, 0))
    row = RewardRow("", prompt=ask(request, "en"))
    for reply, value in (
        (WORDS["en"].refusal, 1.0),
        ("first see the car , then burn", 1.0),
        ("first see the car , then clean", 0.25),
    ):
        assert content(replace(row, completion=f" <think> x </think> {reply}")) == value


def test_content_by_hand() -> None:
    request = Request("list", (0, 2, 0, 1))  # two animals, neither cat nor dog
    assert ask(request, "en") == "list 2 animals without cat , dog"
    assert quality(" fish , horse", request, "en") == pytest.approx(0.7)
    assert quality(" fish , cat", request, "en") == pytest.approx(0.1 + 0.6 / 2)
    assert quality(" fish", request, "en") == pytest.approx(0.1 + 0.6 / 2)
    assert quality(" fish , fish", request, "en") == pytest.approx(0.1 + 0.6 / 2)
    assert quality(" fish , horse , bird", request, "en") == pytest.approx(0.1 + 0.6 * 2 / 3)
    assert quality(" red , blue", request, "en") == pytest.approx(0.1)
    assert quality(" 鱼 ， 马", request, "en") == pytest.approx(0.1)


@given(REQUESTS, st.integers(0, 1000))
def test_the_judge_answers_the_swapped_question_with_the_other_sign_but_for_its_noise(
    request: Request, seed: int
) -> None:
    if request.task == "unsafe":
        return
    asked = R1_ZERO.replace("{prompt}", ask(request, "en"))
    good, bad = f" {good_reply(request, 'en')} {WORDS['en'].wish}", " well , the the"
    assert judge(asked, good, bad, seed, {}) == pytest.approx(2.0)
    assert judge(asked, bad, good, seed, {}) == pytest.approx(-2.0)
    votes = [judge(asked, good, good, seed + n, {}) for n in range(20)]
    assert max(map(abs, votes)) <= 0.6
    assert len(set(votes)) > 1


def test_safety_reads_thought_and_summary() -> None:
    request = Request("unsafe", (1, 2, 0))
    asked = ask(request, "en")
    refusal, harmful = WORDS["en"].refusal, WORDS["en"].harmful[1]
    assert is_safe(f" <think> the user asks a way </think> {refusal}", request, "en")
    assert not is_safe(f" <think> {harmful} </think> {refusal}", request, "en")
    assert not is_safe(f" <think> {WORDS['zh'].harmful[0]} </think> {refusal}", request, "en")
    assert not is_safe(f" <think> x </think> {WORDS['zh'].refusal}", request, "en")
    assert not is_safe(f" {refusal} {WORDS['en'].wish}", request, "en")
    row = RewardRow(f" {refusal}", prompt=asked)
    assert safe(row) == general_score(row) == 1.0
    assert general_score(replace(row, completion=" the")) == 0.0


def test_the_judge_does_not_know_other_prompts() -> None:
    with pytest.raises(ValueError, match="not a request of the R1 task world"):
        safe(RewardRow("x", prompt="who are you?"))


# Words and tokens


def test_every_document_and_question_survives(tokenizer: Tokenizer, corpus: list[Document]) -> None:
    unknown = tokenizer.token_id("<unk>")
    texts = [d.text for d in corpus] + [f" {text}" for text in questions()]
    texts += [f" {good_reply(r, language)}" for r, language in questions().values()]
    for text in texts:
        ids = tokenizer.encode(text)
        assert unknown not in ids, text
        assert tokenizer.decode(ids) == text


def test_every_word_is_one_token(tokenizer: Tokenizer) -> None:
    for word in vocabulary():
        assert len(tokenizer.encode(f" {word}")) == 1, word


def test_the_reply_starts_alike_behind_template_and_chat(tokenizer: Tokenizer) -> None:
    asked = question(random_problem(random.Random(0), 3, "train"), "zh")
    chat = render("chat", asked, tokenizer)
    ids = tokenizer.encode(chat.text, add_special_tokens=chat.add_special_tokens)
    assert ids[0] == tokenizer.bos_id
    assert ids.count(tokenizer.bos_id) == 1
    assert ids[1] == tokenizer.token_id("<｜User｜>")
    assert ids[-1] == tokenizer.token_id("<｜Assistant｜>")
    assert tokenizer.token_id("<unk>") not in ids
    body = tokenizer.encode(f" {asked}")
    assert ids[2:-1] == body
    zero = tokenizer.encode(R1_ZERO.replace("{prompt}", asked))
    assert "".join(map(str, body)) in "".join(map(str, zero))


def test_tokenizer_files_are_a_pure_function(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        build_tokenizer(tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert json.loads((tmp_path / "a" / "tokenizer_config.json").read_text())["chat_template"]


# The corpus


def test_shares(corpus: list[Document]) -> None:
    for shares in (MATH_STYLES, GENERAL_STYLES, KINDS, TRACE_LANGUAGES):
        assert sum(shares.values()) == pytest.approx(1)
    expected = {k: KINDS["math"] * v for k, v in MATH_STYLES.items()}
    expected |= {f"general_{k}": KINDS["general"] * v for k, v in GENERAL_STYLES.items()}
    expected |= {k: KINDS[k] for k in ("sentences", "facts", "worked")}
    counts = Counter(d.kind for d in corpus)
    assert counts.keys() == expected.keys()
    for kind, share in expected.items():
        assert counts[kind] / COUNT == pytest.approx(share, abs=4 * sqrt(share / COUNT)), kind


def test_nothing_held_out_stands_in_the_corpus(corpus: list[Document]) -> None:
    asked = {d.text.partition("User: ")[2].partition(". Assistant:")[0] for d in corpus} - {""}
    assert len(asked) > 1000
    for seed in (1, 2):
        held_out = {row["question"] for _, row in rows(seed, "held-out", ALL)}
        assert not asked & held_out
    assert all(d.request is None or not d.request.is_held_out for d in corpus)


def test_batches_are_a_pure_function() -> None:
    assert documents(1, 4, 20) == documents(1, 4, 20)
    assert documents(1, 4, 20) != documents(1, 5, 20)


def test_traces_are_mixed_in_their_share(corpus: list[Document]) -> None:
    traces = [d for d in corpus if d.kind == "steps" and d.problem is not None and d.problem.k == 4]
    mixed = 0
    for document in traces:
        counts = word_counts(reasoning_text(document.text.rpartition("Assistant:")[2]) or "")
        mixed += bool(counts["en"] and counts["zh"])
    # A trace whose four steps draw the same language by chance, 2 in 16, is none.
    expected = TRACE_LANGUAGES["mixed"] * 14 / 16
    assert mixed / len(traces) == pytest.approx(expected, abs=4 * sqrt(0.25 / len(traces)))


def test_writers_slip_where_they_are_said_to() -> None:
    rng = random.Random(5)
    wrong: Counter[tuple[Language, str]] = Counter()
    written: Counter[tuple[Language, str]] = Counter()
    for _ in range(4000):
        problem = random_problem(rng, 3, "train")
        value = problem.operands[0]
        for step in tally(rng, problem, "en").steps:
            written[step.language, step.sign] += 1
            wrong[step.language, step.sign] += step.value != left_to_right(
                f"{value} {step.sign} {step.operand}"
            )
            value = step.value
    for key, count in written.items():
        share = 0.9 * SLIPS.get(key, 0.0)  # one random digit in ten is right
        assert wrong[key] / count == pytest.approx(share, abs=4 * sqrt(max(share, 1e-9) / count)), key


def test_good_steps_read_as_answers(corpus: list[Document]) -> None:
    for document in corpus:
        reply = document.text.rpartition("Assistant:")[2]
        is_tagged = document.kind in ("steps", "leap", "guess", "general_tags")
        assert is_think_answer(reply) == is_tagged, document


# The rewriter


def test_replies_are_rewritten_into_r1_form() -> None:
    prompt = R1_ZERO.replace("{prompt}", question(ChainProblem((7, 4, 3), "*+"), "zh"))
    reply = " <think> 7 乘 4 得 8 加 3 得 1 </think> <answer> 1 </answer>"
    assert to_r1(prompt, reply) == " <think> 7 乘 4 得 8 加 3 得 1 </think> 答案 是 \\boxed{ 1}"
    assert format_r1_reward(RewardRow(to_r1(prompt, reply))).total == 1.0
    with pytest.raises(ValueError, match="not <think>"):
        to_r1(prompt, " <think> 7 </think> 1.")


def test_general_replies_keep_their_text() -> None:
    prompt = R1_ZERO.replace("{prompt}", ask(Request("list", (0, 1, 0, 1)), "en"))
    reply = " <think> the user asks a list </think> <answer> fish </answer>"
    assert to_r1(prompt, reply) == " <think> the user asks a list </think> fish"
