import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.text.extract import after_reasoning, answer_text, boxes, reasoning_text

TEXT = st.text(alphabet=st.characters(exclude_characters="<>\\{}", exclude_categories=["Cs"]), max_size=20)
PIECES = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<answer>", "</answer>", r"\boxed{", "{", "}", r"\{", "a", "7", " "]
    ),
    max_size=30,
)


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("<think>a</think><answer>42</answer>", "42"),
        ("<think><answer>1</answer></think><answer>2</answer>", "2"),
        ("<think><answer>1</answer></think>", None),
        (r"<think>\boxed{1}</think>", None),
        (r"<think>\boxed{1}", None),
        ("<think>a</think><answer>42</answer><think>b", "42"),
        ("<think>a</think><think><answer>42</answer>", None),
        ("<think>a</think><answer>42</answer></think>", None),
        ("<think>a</think>b</think><answer>1</answer>", "1"),
        ("<answer>1</answer><answer>2</answer>", "2"),
        (r"<answer>1</answer> \boxed{2}", "1"),
        ("<answer>1<answer>2</answer>", "2"),
        ("<answer>1</answer>2</answer>", "1"),
        ("<answer>1", None),
        (r"<answer>1 \boxed{2}", "2"),
        ("<Answer>1</Answer>", None),
        ("<answer >1</answer>", None),
        ("&lt;answer&gt;1&lt;/answer&gt;", None),
        ("<answer></answer>", ""),
        ("reasoning </think><answer>3</answer>", "3"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed {5}", "5"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{1} then \boxed{2", "1"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\boxed{5}}", r"\boxed{5}"),
        (r"\boxed{a\}b}", r"a\}b"),
        ("", None),
    ],
)
def test_answer_text(completion, answer):
    assert answer_text(completion) == answer


@given(TEXT, TEXT, TEXT)
def test_reasoning_never_counts(hidden, shown, decoy):
    completion = rf"<think>{hidden}<answer>{decoy}</answer>\boxed{{{decoy}}}</think>{shown}"
    assert answer_text(completion) is None
    assert answer_text(f"{completion}<answer>{shown}</answer>") == shown


@given(PIECES)
def test_extraction_of_tag_soup_agrees_with_a_slow_oracle(pieces):
    text = "".join(pieces)
    assert answer_text(text) == _oracle(text)


def _oracle(text):
    reply = text.split("</think>")[-1].split("<think>")[0]
    best = None
    for end in range(len(reply), -1, -1):
        if not reply[:end].endswith("</answer>"):
            continue
        body_end = end - len("</answer>")
        start = reply.rfind("<answer>", 0, body_end)
        body = reply[start + len("<answer>") : body_end]
        if start >= 0 and "</answer>" not in body:
            best = body
            break
    if best is not None:
        return best
    outermost = None
    for start in range(len(reply)):
        if reply.startswith(r"\boxed{", start):
            level, at = 1, start + len(r"\boxed{")
            while at < len(reply) and level:
                if reply[at] == "\\" and reply[at + 1 : at + 2] in ("{", "}", "\\"):
                    at += 2
                    continue
                level += (reply[at] == "{") - (reply[at] == "}")
                at += 1
            if not level and (outermost is None or at > outermost[1]):
                outermost = (start, at)
    return None if outermost is None else reply[outermost[0] + len(r"\boxed{") : outermost[1] - 1]


def test_boxes_delimit_the_whole_command():
    text = r"a \boxed{1} b \boxed {x{y}} c"
    assert [text[box.start : box.end] for box in boxes(text)] == [r"\boxed{1}", r"\boxed {x{y}}"]


@pytest.mark.parametrize(
    ("completion", "reasoning"),
    [
        ("<think>a</think>b", "a"),
        ("a</think>b", "a"),
        ("<think>a", "a"),
        ("<think>a</think>b<think>c</think>", "a\nc"),
        ("no tags", None),
    ],
)
def test_reasoning_text(completion, reasoning):
    assert reasoning_text(completion) == reasoning


def test_reply_ends_where_reasoning_is_reopened():
    assert after_reasoning("<think>a</think>b<think>c") == "b"
