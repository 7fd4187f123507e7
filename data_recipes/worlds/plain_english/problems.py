"""Procedural source "plain-english": word problems of one or two steps, and requests that a rule judges.

    Mia has 7 apples. She buys 5 more. How many apples does she have now?          12        kind = math
    Name 3 fruits.                                                                 –         kind = general

Training and held-out rows differ by a hash of what is asked: another name or wording does not make another question.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

from data_recipes.procedural import PlainEnglishParams, Split
from policies.json_types import JsonDict

HELD_OUT_SHARE = 10
"""One question in this many is held out."""
PATIENCE = 200
"""Draws for each row that is asked for before the questions count as exhausted."""
PEOPLE = (("Mia", "she"), ("Tom", "he"), ("Anna", "she"), ("Ben", "he"), ("Lily", "she"), ("Sam", "he"))
THINGS = ("apples", "books", "coins", "stamps", "pens", "shells", "cards", "eggs")
LISTS = {
    "fruits": (
        "apple",
        "banana",
        "orange",
        "grape",
        "pear",
        "peach",
        "mango",
        "cherry",
        "lemon",
        "plum",
        "strawberry",
    ),
    "animals": (
        "dog",
        "cat",
        "horse",
        "cow",
        "lion",
        "tiger",
        "bear",
        "elephant",
        "rabbit",
        "sheep",
        "bird",
        "wolf",
    ),
    "colors": ("red", "blue", "green", "yellow", "black", "white", "orange", "purple", "pink", "brown"),
    "vegetables": (
        "carrot",
        "potato",
        "tomato",
        "onion",
        "spinach",
        "broccoli",
        "cucumber",
        "lettuce",
        "pea",
    ),
    "sports": (
        "soccer",
        "football",
        "tennis",
        "basketball",
        "hockey",
        "baseball",
        "golf",
        "swimming",
        "running",
    ),
    "tools": ("hammer", "saw", "screwdriver", "wrench", "drill", "pliers", "knife", "shovel"),
    "drinks": ("water", "coffee", "tea", "milk", "juice", "soda", "lemonade", "wine", "beer"),
    "clothes": ("shirt", "pants", "hat", "coat", "dress", "shoe", "sock", "skirt", "jacket", "sweater"),
}
"""What a request may ask for, with names that count; the judge takes their plurals too."""
ASKS = ("Name {n} {things}.", "Give me {n} examples of {things}.", "I need {n} {things}, what can I take?")


def rows(seed: int, split: Split, params: PlainEnglishParams) -> Iterator[tuple[str, JsonDict]]:
    """Yield (location, row) of different questions with question, answer, kind and language.

    Raises:
        ValueError: there are not as many; names the key to lower.
    """
    for kind, count in (("math", params.math), ("general", params.general)):
        seen: set[str] = set()
        for number in range(count * PATIENCE):
            if len(seen) == count:
                break
            draw = random.Random(f"plain-english/{seed}/{kind}/{number}")
            row, asked = _problem(draw, params) if kind == "math" else _request(draw)
            question = str(row["question"])
            if question in seen or _is_held_out(asked) != (split == "held-out"):
                continue
            seen.add(question)
            yield f"plain-english, {kind} {number}", row | {"kind": kind, "language": "en"}
        if len(seen) < count:
            raise ValueError(
                f"params.{kind} = {count}, but there are {len(seen)} such {split} questions; lower it"
            )


def _is_held_out(asked: str) -> bool:
    return hashlib.sha256(f"plain-english/{asked}".encode()).digest()[0] % HELD_OUT_SHARE == 0


def _problem(draw: random.Random, params: PlainEnglishParams) -> tuple[JsonDict, str]:
    """Return a word problem, and what it asks: the same for another person."""
    name, pronoun = draw.choice(PEOPLE)
    things, has = draw.choice(THINGS), draw.randint(2, params.largest)
    total, text, asked = has, [f"{name} has {has} {things}."], str(has)
    for _ in range(draw.randint(1, params.max_steps)):
        if draw.random() < 0.5 and total > 1:
            change = draw.randint(1, min(total - 1, params.largest))
            total -= change
            text.append(f"{pronoun.capitalize()} gives away {change}.")
            asked += f" - {change}"
        else:
            change = draw.randint(1, params.largest)
            total += change
            text.append(f"{pronoun.capitalize()} buys {change} more.")
            asked += f" + {change}"
    text.append(f"How many {things} does {pronoun} have now?")
    return {"question": " ".join(text), "answer": str(total)}, f"{things}: {asked}"


def _request(draw: random.Random) -> tuple[JsonDict, str]:
    """Return a request, and what it asks without its wording."""
    things, wanted = draw.choice(sorted(LISTS)), draw.randint(2, 6)
    answer = f"{wanted} {things}"
    return {"question": draw.choice(ASKS).format(n=wanted, things=things), "answer": answer}, answer
