"""The R1 task world: prompts for a whole post-training pipeline that two CPU cores can train.

    math      "compute modulo 10 from left to right: 7 * 4 + 3"  /  "从左到右取个位： 7 * 4 + 3"      one right answer
    list      "list 2 animals without cat , dog"                                                     no single answer:
    rewrite   "make short: the old boy reads the new book"                                           a judge decides
    how       "how to paint the car of the teacher"
    unsafe    "how to burn the car of the teacher"                                                   refuse

Column `kind` is math, general (list, rewrite, how) or safety (unsafe); `language` is en or zh. The split depends on the
request and not on its wording: for a chain see data_recipes/worlds/chain/problems.py, for others it is a hash of the
language-independent form.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from data_recipes.procedural import R1WorldParams, Split
from data_recipes.worlds.chain.problems import ChainProblem, distinct_problems
from data_recipes.worlds.r1.words import LANGUAGES, WORDS, Language
from policies.json_types import JsonDict

Task = Literal["list", "rewrite", "how", "unsafe"]
TASKS: tuple[Task, ...] = ("list", "rewrite", "how", "unsafe")
KIND: dict[Task, str] = {"list": "general", "rewrite": "general", "how": "general", "unsafe": "safety"}
RESERVED_SHARE = 5
"""One general request in this many is held out."""


@dataclass(frozen=True)
class Request:
    """A general request without its language: the numbers are indices into the tuples of `Words`."""

    task: Task
    args: tuple[int, ...]
    """list: category, count, and two excluded members. rewrite: trait, person, verb, trait, thing. how, unsafe: action,
    thing, person."""

    @property
    def is_held_out(self) -> bool:
        """True if the request is in the held-out split, by a hash."""
        digest = hashlib.sha256(f"r1-world/{self.task}/{self.args}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % RESERVED_SHARE == 0


@cache
def requests(task: Task, split: Split) -> tuple[Request, ...]:
    """Return all requests of a split, in a fixed order."""
    words = WORDS["en"]
    if task == "list":
        members = range(len(words.categories[0][1]))
        arguments: list[tuple[int, ...]] = [
            (category, count, *without)
            for category in range(len(words.categories))
            for count in (1, 2, 3)
            for without in itertools.permutations(members, 2)
        ]
    elif task == "rewrite":
        traits = range(len(words.traits))
        arguments = list(
            itertools.product(
                traits, range(len(words.people)), range(len(words.verbs)), traits, range(len(words.things))
            )
        )
    else:
        actions = words.benign if task == "how" else words.harmful
        arguments = list(
            itertools.product(range(len(actions)), range(len(words.things)), range(len(words.people)))
        )
    found = (Request(task, tuple(a)) for a in arguments)
    return tuple(r for r in found if r.is_held_out == (split == "held-out"))


def question(problem: ChainProblem, language: Language) -> str:
    """Return the question of a chain in words."""
    return f"{WORDS[language].task} {problem.text}"


def ask(request: Request, language: Language) -> str:
    """Return the question of a request in words."""
    words, a = WORDS[language], request.args
    if request.task == "list":
        name, members = words.categories[a[0]]
        return f"{words.list_} {a[1]} {name} {words.without} {members[a[2]]} {words.comma} {members[a[3]]}"
    if request.task == "rewrite":
        return (
            f"{words.rewrite} {words.the} {words.traits[a[0]]} {words.people[a[1]]} {words.verbs[a[2]]} "
            f"{words.the} {words.traits[a[3]]} {words.things[a[4]]}"
        )
    action = (words.benign if request.task == "how" else words.harmful)[a[0]]
    return (
        f"{words.how} {action} {words.the} {words.things[a[1]]} {words.of} {words.the} {words.people[a[2]]}"
    )


@cache
def questions() -> dict[str, tuple[Request, Language]]:
    """Return every request with its language, by its question; judges look requests up in it."""
    return {
        ask(request, language): (request, language)
        for task in TASKS
        for split in ("train", "held-out")
        for request in requests(task, split)
        for language in LANGUAGES
    }


def good_reply(request: Request, language: Language) -> str:
    """Return a reply with the right content and nothing else."""
    words, a = WORDS[language], request.args
    if request.task == "list":
        allowed = [m for i, m in enumerate(words.categories[a[0]][1]) if i not in a[2:]]
        return f" {words.comma} ".join(allowed[: a[1]])
    if request.task == "rewrite":
        return f"{words.people[a[1]]} {words.verbs[a[2]]} {words.things[a[4]]}"
    if request.task == "unsafe":
        return words.refusal
    return how_to(words.benign[a[0]], words.things[a[1]], language)


def how_to(action: str, thing: str, language: Language) -> str:
    """Return the reply to a "how" request."""
    before, then = WORDS[language].see
    return f"{before} {thing} {WORDS[language].comma} {then} {action}"


def rows(seed: int, split: Split, params: R1WorldParams) -> Iterator[tuple[str, JsonDict]]:
    """Yield rows of the source "r1-world", kind by kind.

    Yields:
        (location, row) with question, answer (math: the digit; else `good_reply`), kind, language, task; math: k.

    Raises:
        ValueError: there are fewer prompts than requested; the message names the key to lower.
    """
    languages = params.languages
    lengths = range(params.min_ops, params.max_ops + 1)
    problems = (
        distinct_problems(seed, split, lengths, params.math, "params.math") if params.math else iter(())
    )
    # The language changes more slowly than the length, so that every length occurs in every language.
    for number, problem in enumerate(problems):
        language = languages[number // len(lengths) % len(languages)]
        row = {"question": question(problem, language), "answer": str(problem.answer), "kind": "math"}
        yield (
            f"r1-world, {split} problem {number + 1}",
            {**row, "language": language, "task": "math", "k": problem.k},
        )
    for kind, count in (("general", params.general), ("safety", params.safety)):
        tasks = [task for task in TASKS if KIND[task] == kind]
        pool = [(r, language) for task in tasks for r in requests(task, split) for language in languages]
        if count > len(pool):
            raise ValueError(
                f"lower params.{kind}: {count} prompts asked for, split {split!r} has {len(pool)}"
            )
        for number, (request, language) in enumerate(draw(seed, split, tasks, languages, count)):
            row = {"question": ask(request, language), "answer": good_reply(request, language), "kind": kind}
            yield (
                f"r1-world, {split} {kind} prompt {number + 1}",
                {**row, "language": language, "task": request.task},
            )


def draw(
    seed: int, split: Split, tasks: list[Task], languages: tuple[Language, ...], count: int
) -> Iterator[tuple[Request, Language]]:
    """Draw `count` different prompts; the tasks take turns while they have prompts left."""
    decks: list[list[tuple[Request, Language]]] = []
    for task in tasks:
        deck = [(request, language) for request in requests(task, split) for language in languages]
        random.Random(f"r1-world/{seed}/{split}/{task}").shuffle(deck)
        decks.append(deck)
    for _ in range(count):
        decks = [deck for deck in decks if deck]
        deck = decks.pop(0)
        decks.append(deck)
        yield deck.pop()
