"""The words of the R1 task world in English and Chinese; `WORDS["zh"]` translates `WORDS["en"]`.

Spaces separate words in both languages, so that one rule splits and joins them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


@dataclass(frozen=True)
class Words:
    """The words of one language; its tuples have the same length and order as those of the other."""

    task: str
    """The text before a chain: seven words in each language, which `ngram` in r1-tiny.toml relies on."""
    operators: dict[str, str]
    """Word by arithmetic sign."""
    equals: str
    leap: str
    """The word between a tally and a result that skips the remaining steps."""
    guess: str
    first: str
    result: str
    answer_is: str
    """The text before the boxed answer of a summary."""
    comma: str
    list_: str
    without: str
    rewrite: str
    how: str
    of: str
    see: tuple[str, str]
    """The texts of "first see the … , then … it": before the thing, and before the action."""
    refusal: str
    filler: str
    """An opening without content."""
    wish: str
    """A courteous close."""
    thoughts: dict[str, str]
    """The thought about a request, by task."""
    categories: tuple[tuple[str, tuple[str, ...]], ...]
    """Name and members of each category."""
    people: tuple[str, ...]
    traits: tuple[str, ...]
    verbs: tuple[str, ...]
    things: tuple[str, ...]
    the: str
    benign: tuple[str, ...]
    harmful: tuple[str, ...]
    """Actions that a reply must refuse; those of `benign` are allowed."""


WORDS: dict[Language, Words] = {
    "en": Words(
        task="compute modulo 10 from left to right:",
        operators={"+": "plus", "-": "minus", "*": "times"},
        equals="is",
        leap="then",
        guess="guess",
        first="first",
        result="result",
        answer_is="the answer is",
        comma=",",
        list_="list",
        without="without",
        rewrite="make short:",
        how="how to",
        of="of",
        see=("first see the", "then"),
        refusal="sorry , we cannot help with that",
        filler="well ,",
        wish=", hope it helps",
        thoughts={
            "list": "the user asks a list",
            "rewrite": "the user asks less words",
            "how": "the user asks a way",
        },
        categories=(
            ("animals", ("cat", "dog", "bird", "fish", "horse", "sheep")),
            ("colours", ("red", "blue", "green", "black", "white", "brown")),
            ("fruits", ("apple", "pear", "plum", "grape", "lemon", "peach")),
            ("tools", ("hammer", "saw", "knife", "rope", "nail", "spade")),
        ),
        people=("boy", "girl", "teacher", "doctor"),
        traits=("small", "old", "new"),
        verbs=("reads", "writes", "sees", "buys"),
        things=("book", "house", "car", "letter", "picture"),
        the="the",
        benign=("clean", "paint", "open", "draw"),
        harmful=("steal", "burn", "break", "hide"),
    ),
    "zh": Words(
        task="从左到右取个位：",
        operators={"+": "加", "-": "减", "*": "乘"},
        equals="得",
        leap="就是",
        guess="猜猜",
        first="先算",
        result="结果",
        answer_is="答案 是",
        comma="，",
        list_="列出",
        without="不要",
        rewrite="缩短：",
        how="怎么",
        of="的",
        see=("首先 看看", "然后"),
        refusal="抱歉 ， 我们 不能 帮忙",
        filler="好吧 ，",
        wish="， 希望 有用",
        thoughts={"list": "用户 想要 列表", "rewrite": "用户 想要 少些 字", "how": "用户 想要 办法"},
        categories=(
            ("动物", ("猫", "狗", "鸟", "鱼", "马", "羊")),
            ("颜色", ("红", "蓝", "绿", "黑", "白", "棕")),
            ("水果", ("苹果", "梨", "李子", "葡萄", "柠檬", "桃子")),
            ("工具", ("锤子", "锯子", "刀", "绳子", "钉子", "铲子")),
        ),
        people=("男孩", "女孩", "老师", "医生"),
        traits=("小", "老", "新"),
        verbs=("读", "写", "看见", "买"),
        things=("书", "房子", "车", "信", "画"),
        the="那个",
        benign=("清洗", "粉刷", "打开", "描画"),
        harmful=("偷走", "烧掉", "打破", "藏起"),
    ),
}


def split(text: str) -> list[str]:
    """Return the words of a text of this task world."""
    return text.split()


def vocabulary() -> list[str]:
    """Return every word of both languages once, in a fixed order."""
    found: dict[str, None] = {}
    for words in WORDS.values():
        texts = [*words.operators.values(), words.equals, words.leap, words.guess, words.first, words.result]
        texts += [
            words.answer_is,
            words.comma,
            words.list_,
            words.without,
            words.rewrite,
            words.how,
            words.of,
        ]
        texts += [*words.see, words.refusal, words.filler, words.wish, *words.thoughts.values()]
        texts += [w for name, members in words.categories for w in (name, *members)]
        texts += [*words.people, *words.traits, *words.verbs, *words.things, words.the]
        texts += [*words.benign, *words.harmful]
        for text in texts:
            found.update(dict.fromkeys(split(text)))
    return list(found)
