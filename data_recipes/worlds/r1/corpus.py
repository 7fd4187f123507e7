"""The pre-training corpus of the R1 task world, in two languages; compare data_recipes/worlds/chain/corpus.py.

A worked chain is a running tally in words: "7 times 4 is 8 plus 3 is 1", in Chinese "7 乘 4 得 8 加 3 得 1". A trace is
in the language of the question, in the other one, or mixed, with a random language for each step. Products in English
and sums in Chinese are often wrong (`SLIPS`). So mixing languages gives more right answers, as it did for
DeepSeek-R1-Zero; a policy that must use one language has to learn the operations that the corpus gets wrong in it.

Replies to general requests have tags or none, often wrong content, an empty opening or none, and a courteous close or
none. Unsafe requests are refused in some replies and followed in others.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from data_recipes.templates import R1_ZERO
from data_recipes.worlds.chain.corpus import pick
from data_recipes.worlds.chain.problems import ChainProblem, apply, random_problem
from data_recipes.worlds.r1.requests import TASKS, Request, Task, ask, good_reply, how_to, question, requests
from data_recipes.worlds.r1.words import LANGUAGES, WORDS, Language

MATH_STYLES = {
    "steps": 0.24,
    "leap": 0.14,
    "guess": 0.18,
    "no_tags": 0.10,
    "bare": 0.12,
    "broken": 0.12,
    "off_topic": 0.10,
}
"""Fraction of each style among replies to chains after the template, as in data_recipes/worlds/chain/corpus.py."""
GENERAL_STYLES = {"tags": 0.45, "bare": 0.45, "broken": 0.10}
KINDS = {"math": 0.39, "general": 0.26, "sentences": 0.04, "facts": 0.09, "worked": 0.22}
"""Fraction of each kind of document: two with the template, three of plain text."""
TRACE_LANGUAGES = {"question": 0.45, "other": 0.10, "mixed": 0.45}
SLIPS: dict[tuple[Language, str], float] = {("en", "*"): 0.5, ("zh", "+"): 0.5}
"""Probability that a step in a language and with a sign gets a random digit as its result."""
SOLVED_LENGTHS = {2: 0.26, 3: 0.25, 4: 0.24, 5: 0.17, 6: 0.08}
"""Fraction of each number of operations among chains with a complete solution."""
UNSOLVED_LENGTHS = (5, 6, 7)
UNSOLVED_SHARE = 0.3
LEAP_RIGHT = 0.3
CONTENT_RIGHT = 0.7
"""Probability that a general reply has the right content."""
REFUSES = 0.4
"""Probability that an unsafe request is refused."""
REFUSES_BENIGN = 0.15
FILLER = 0.4
WISH = 0.25
SAME_LANGUAGE = 0.85
"""Probability that a general reply is in the language of its request."""


@dataclass(frozen=True)
class Document:
    """A document of the corpus with its kind."""

    text: str
    kind: str
    """A style of `MATH_STYLES` or `GENERAL_STYLES`, or a kind of plain text."""
    problem: ChainProblem | None = None
    request: Request | None = None


@dataclass(frozen=True)
class Step:
    """One step of a worked chain."""

    sign: str
    operand: int
    value: int
    language: Language


@dataclass(frozen=True)
class Tally:
    """A worked chain, possibly with wrong results."""

    first: int
    steps: tuple[Step, ...] = field(default=())

    @property
    def result(self) -> int:
        """The last result, right or wrong."""
        return self.steps[-1].value if self.steps else self.first

    @property
    def text(self) -> str:
        """The tally as text, with a space before every piece."""
        done = (
            f" {WORDS[s.language].operators[s.sign]} {s.operand} {WORDS[s.language].equals} {s.value}"
            for s in self.steps
        )
        return f" {self.first}{''.join(done)}"


def documents(seed: int, batch: int, count: int) -> list[Document]:
    """Return batch number `batch` of the corpus, `count` documents: a pure function of the arguments."""
    rng = random.Random(f"r1-world-corpus/{seed}/{batch}")
    return [draw(rng) for _ in range(count)]


def draw(rng: random.Random) -> Document:
    """Draw one document."""
    kind, language = pick(rng, KINDS), rng.choice(LANGUAGES)
    if kind == "math":
        return math_document(rng, language)
    if kind == "general":
        return general_document(rng, language)
    if kind == "sentences":
        return Document("".join(sentence(rng, language) for _ in range(rng.randint(1, 3))), kind)
    if kind == "facts":
        return Document(" ;".join(fact(rng) for _ in range(rng.randint(2, 5))) + ".", kind)
    problem = random_problem(rng, pick(rng, SOLVED_LENGTHS), "train")
    # The wording is that of replies after the template, so that it helps there.
    return Document(
        f" {question(problem, language)}. Assistant:{untagged(rng, problem, language)}", kind, problem
    )


def math_document(rng: random.Random, language: Language) -> Document:
    """Draw a chain after the template, answered in one of the styles."""
    style = pick(rng, MATH_STYLES)
    is_long = style not in ("steps", "no_tags", "broken") and rng.random() < UNSOLVED_SHARE
    length = rng.choice(UNSOLVED_LENGTHS) if is_long else pick(rng, SOLVED_LENGTHS)
    problem = random_problem(rng, length, "train")
    words = WORDS[language]
    if style == "steps":
        done = tally(rng, problem, language)
        reply = tagged(done.text, f" {done.result}")
    elif style == "leap":
        done = tally(rng, problem, language, rng.randrange(problem.k))
        lands = rng.random() < LEAP_RIGHT and not is_long
        result = problem.answer if lands else rng.randrange(10)
        reply = tagged(f"{done.text} {words.leap} {result}", f" {result}")
    elif style == "guess":
        reply = tagged(f" {words.guess}", f" {rng.randrange(10)}")
    elif style == "no_tags":
        reply = untagged(rng, problem, language)
    elif style == "bare":
        reply = f" {rng.randrange(10)}."
    elif style == "broken":
        guessed = rng.random() < 0.5
        done = tally(rng, problem, language)
        thought, answer = (f" {words.guess}", rng.randrange(10)) if guessed else (done.text, done.result)
        reply = broken(rng, thought, f" {answer}")
    else:
        reply = sentence(rng, language)
    return Document(behind_template(question(problem, language), reply), style, problem=problem)


def tally(rng: random.Random, problem: ChainProblem, language: Language, taken: int | None = None) -> Tally:
    """Work a chain for `taken` steps (None: all) with the corpus's errors."""
    mode = pick(rng, TRACE_LANGUAGES)
    other: Language = "zh" if language == "en" else "en"
    value, steps = problem.operands[0], []
    for sign, operand in list(zip(problem.operators, problem.operands[1:], strict=True))[:taken]:
        written = rng.choice(LANGUAGES) if mode == "mixed" else language if mode == "question" else other
        value = slipping(rng, value, sign, operand, written)
        steps.append(Step(sign, operand, value, written))
    return Tally(problem.operands[0], tuple(steps))


def slipping(rng: random.Random, left: int, sign: str, right: int, language: Language) -> int:
    """Return one operation's result, with the errors of this language."""
    slips = rng.random() < SLIPS.get((language, sign), 0.0)
    return rng.randrange(10) if slips else apply(left, sign, right)


def fact(rng: random.Random) -> str:
    """Draw one operation with its result, in either language."""
    left, sign, right, language = (
        rng.randrange(10),
        rng.choice("+-*"),
        rng.randrange(10),
        rng.choice(LANGUAGES),
    )
    return Tally(left, (Step(sign, right, slipping(rng, left, sign, right, language), language),)).text


def untagged(rng: random.Random, problem: ChainProblem, language: Language) -> str:
    """Draw a worked chain without tags."""
    done, words = tally(rng, problem, language), WORDS[language]
    return f" {words.first}{done.text} ; {words.result} {done.result}."


def general_document(rng: random.Random, language: Language) -> Document:
    """Draw a general request after the template, with a reply."""
    task: Task = rng.choice(TASKS)
    request = rng.choice(requests(task, "train"))
    replied: Language = language if rng.random() < SAME_LANGUAGE else ("zh" if language == "en" else "en")
    reply = f" {general_reply(rng, request, replied)}"
    thought = f" {WORDS[replied].thoughts['how' if task == 'unsafe' else task]}"
    style = pick(rng, GENERAL_STYLES)
    if style == "tags":
        reply = tagged(thought, reply)
    elif style == "broken":
        reply = broken(rng, thought, reply)
    else:
        reply += "."
    return Document(behind_template(ask(request, language), reply), f"general_{style}", request=request)


def general_reply(rng: random.Random, request: Request, language: Language) -> str:
    """Draw a reply to a request: right or wrong content, with or without opening and close."""
    words = WORDS[language]
    if request.task == "unsafe":
        if rng.random() < REFUSES:
            return words.refusal
        content = how_to(words.harmful[request.args[0]], words.things[request.args[1]], language)
    elif request.task == "how" and rng.random() < REFUSES_BENIGN:
        return words.refusal
    elif rng.random() < CONTENT_RIGHT:
        content = good_content(rng, request, language)
    else:
        content = bad_content(rng, request, language)
    opening = f"{words.filler} " if rng.random() < FILLER else ""
    close = f" {words.wish}" if rng.random() < WISH else ""
    return f"{opening}{content}{close}"


def good_content(rng: random.Random, request: Request, language: Language) -> str:
    """Draw right content: any allowed members for a list."""
    if request.task != "list":
        return good_reply(request, language)
    words, a = WORDS[language], request.args
    allowed = [m for i, m in enumerate(words.categories[a[0]][1]) if i not in a[2:]]
    return f" {words.comma} ".join(rng.sample(allowed, a[1]))


def bad_content(rng: random.Random, request: Request, language: Language) -> str:
    """Draw wrong content: wrong number or kind of members, too many words, another action or thing."""
    words, a = WORDS[language], request.args
    if request.task == "list":
        _, members = words.categories[rng.choice((a[0], rng.randrange(len(words.categories))))]
        return f" {words.comma} ".join(rng.sample(members, rng.randint(1, 4)))
    if request.task == "rewrite":
        person, verb, thing = words.people[a[1]], words.verbs[a[2]], words.things[a[4]]
        forms = (
            f"{words.traits[a[0]]} {person} {verb} {words.traits[a[3]]} {thing}",
            f"{words.the} {person} {verb} {words.the} {thing}",
            f"{person} {verb}",
            f"{rng.choice(words.people)} {rng.choice(words.verbs)} {rng.choice(words.things)}",
        )
        return rng.choice(forms)
    return how_to(rng.choice(words.benign), rng.choice(words.things), language)


def behind_template(asked: str, reply: str) -> str:
    """Return question and reply in R1-Zero's template."""
    return R1_ZERO.replace("{prompt}", asked) + reply


def tagged(thought: str, answer: str) -> str:
    """Return thought and answer in their tags, each after a space."""
    return f" <think>{thought} </think> <answer>{answer} </answer>"


def broken(rng: random.Random, thought: str, answer: str) -> str:
    """Draw a reply with missing or crossed tags, in which no reward finds an answer."""
    forms = (
        f" <think>{thought} <answer>{answer}",
        f" <think>{thought} </think>{answer}.",
        f" <think>{thought} </answer>{answer}",
        f" <answer>{answer} <think>{thought} </think>",
    )
    return rng.choice(forms)


def sentence(rng: random.Random, language: Language) -> str:
    """Draw a sentence about a person and a thing."""
    words = WORDS[language]
    subject = f" {words.the} {rng.choice(words.traits)} {rng.choice(words.people)}"
    return f"{subject} {rng.choice(words.verbs)} {words.the} {rng.choice(words.traits)} {rng.choice(words.things)}."
