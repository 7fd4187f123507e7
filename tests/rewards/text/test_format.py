import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.rows import RewardRow
from rewards.text.format import format_r1_reward, format_reward, is_think_answer
from rewards.text.visible import has_visible_text

GOOD = "<think>a</think><answer>b</answer>"
BAD = {
    "empty": "",
    "plain text": "42",
    "empty reasoning": "<think></think><answer>b</answer>",
    "blank reasoning": "<think> \n</think><answer>b</answer>",
    "blank answer": "<think>a</think><answer>\t</answer>",
    "zero-width reasoning": "<think>\u200b\u200d\ufeff</think><answer>b</answer>",
    "soft hyphen answer": "<think>a</think><answer>\u00ad</answer>",
    "hangul filler answer": "<think>a</think><answer>\u3164</answer>",
    "braille blank answer": "<think>a</think><answer>\u2800</answer>",
    "bare combining mark": "<think>a</think><answer>\u0301\u034f</answer>",
    "tag characters": "<think>a</think><answer>\U000e0041</answer>",
    "entity for a blank": "<think>a</think><answer>&nbsp;&#8203;</answer>",
    "text before": "x<think>a</think><answer>b</answer>",
    "text between": "<think>a</think>x<answer>b</answer>",
    "text after": "<think>a</think><answer>b</answer>x",
    "zero-width outside": "<think>a</think>\u200b<answer>b</answer>",
    "reversed": "<answer>b</answer><think>a</think>",
    "nested": "<think>a<answer>b</answer></think>",
    "crossed": "<think>a<answer>b</think></answer>",
    "missing think": "<answer>b</answer>",
    "missing answer": "<think>a</think>",
    "unclosed answer": "<think>a</think><answer>b",
    "unclosed think": "<think>a<answer>b</answer>",
    "repeated block": GOOD + GOOD,
    "repeated think": "<think>a</think><think>a</think><answer>b</answer>",
    "tag in the reasoning": "<think>a <think> a</think><answer>b</answer>",
    "closing tag in the answer": "<think>a</think><answer>b </think></answer>",
    "upper case": "<THINK>a</THINK><ANSWER>b</ANSWER>",
    "upper-case tag inside": "<think>a <THINK> a</think><answer>b</answer>",
    "attribute": '<think id="1">a</think><answer>b</answer>',
    "attribute inside": '<think>a <answer x="1"> a</think><answer>b</answer>',
    "space in the tag": "<think >a</think><answer>b</answer>",
    "self-closing inside": "<think>a<think/>b</think><answer>b</answer>",
    "entities": "&lt;think&gt;a&lt;/think&gt;&lt;answer&gt;b&lt;/answer&gt;",
    "entities inside": "<think>a &lt;answer&gt; a</think><answer>b</answer>",
    "double entities inside": "<think>a &amp;lt;answer&amp;gt; a</think><answer>b</answer>",
    "full-width tag inside": "<think>a ＜answer＞ a</think><answer>b</answer>",
    "hidden tag inside": "<think>a <ans\u200bwer> a</think><answer>b</answer>",
    "full-width tags": "＜think＞a＜/think＞＜answer＞b＜/answer＞",
    "control outside": "<think>a</think>\x1f<answer>b</answer>",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_anything_else_scores_zero(text):
    assert format_reward(RewardRow(text)).total == 0.0


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        " \n<think>a</think>\n\n<answer>b</answer>\n",
        "\u3000<think>我想</think>\u00a0<answer>四十二</answer>",
        "<think>1 < 2 and 3 > 2, so <b>yes</b> & thinking <thinker></think><answer>.</answer>",
        "<think>a\n\nb</think>\n<answer>\\boxed{1}</answer>",
    ],
)
def test_exact_shape_scores_one(text):
    assert format_reward(RewardRow(text)).total == 1.0


BODY = st.text(alphabet=st.characters(exclude_characters="<>&＜＞", exclude_categories=["Cs"]), max_size=20)
SPACE = st.text(alphabet=" \n\t\r\u3000", max_size=4)


@given(SPACE, BODY, SPACE, BODY, SPACE)
def test_score_is_one_exactly_if_both_bodies_show_text(a, reasoning, b, answer, c):
    text = f"{a}<think>{reasoning}</think>{b}<answer>{answer}</answer>{c}"
    assert is_think_answer(text) == (has_visible_text(reasoning) and has_visible_text(answer))


@given(st.sampled_from(["<think>", "</think>", "<answer>", "</answer>"]), st.integers(0, len(GOOD)))
def test_one_more_tag_anywhere_is_zero(tag, at):
    assert not is_think_answer(GOOD[:at] + tag + GOOD[at:])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<think>a</think>The summary.", 1.0),
        ("\n<think>a</think>\n\n\\boxed{1}", 1.0),
        (GOOD, 1.0),
        ("<think>a</think>", 0.0),
        ("<think>a</think>\u200b", 0.0),
        ("<think> </think>s", 0.0),
        ("s<think>a</think>s", 0.0),
        ("<think>a</think>s<think>b</think>", 0.0),
        ("a</think>s", 0.0),
        ("<THINK>a</THINK>s", 0.0),
    ],
)
def test_r1_shape(text, value):
    assert format_r1_reward(RewardRow(text)).total == value
