"""The words of the tiny R1 world, in two languages, side by side. `WORDS["zh"]` is what `WORDS["en"]` is in Chinese.

Words stand between spaces in both languages, so that one rule splits and joins them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


@dataclass(frozen=True)
class Words:
    """One language. Tuples of equal length in both, in the same order."""

    task: str
    """Before a chain of operations. Seven words in either language, on which `ngram` in r1-tiny.toml counts."""
    operators: dict[str, str]
    """Sign → word."""
    equals: str
    leap: str
    """Between a tally and a result that skips the rest."""
    guess: str
    first: str
    result: str
    answer_is: str
    """Before the boxed answer of a summary."""
    comma: str
    list_: str
    without: str
    rewrite: str
    how: str
    of: str
    see: tuple[str, str]
    """"first see the … , then … it", around the thing: before it, and before the action."""
    refusal: str
    filler: str
    """An opening that says nothing."""
    wish: str
    """A courteous close."""
    thoughts: dict[str, str]
    """Task → what is thought about it."""
    categories: tuple[tuple[str, tuple[str, ...]], ...]
    """(name, members)."""
    people: tuple[str, ...]
    traits: tuple[str, ...]
    verbs: tuple[str, ...]
    things: tuple[str, ...]
    the: str
    benign: tuple[str, ...]
    harmful: tuple[str, ...]
    """Actions that one may, and may not, be helped with."""


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
    """Words of a text of this world."""
    return text.split()


def vocabulary() -> list[str]:
    """Every word of both languages, each once, in a fixed order."""
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
