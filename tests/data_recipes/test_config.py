import pytest
from pydantic import ValidationError

from data_recipes.config import DatasetConfig, source_kind


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("chain", "procedural"),
        ("r1-world", "procedural"),
        ("reasoning-gym:chain_sum", "gym"),
        ("a/b.jsonl", "file"),
        ("b.jsonl.gz", "file"),
        ("c.parquet", "file"),
        ("openai/gsm8k", "hub"),
    ],
)
def test_the_name_alone_says_how_a_source_is_read(source: str, kind: str) -> None:
    assert source_kind(source) == kind


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "chain", "split": "test"}, '"train" and "held-out"'),
        ({"source": "a.jsonl", "split": "train"}, "a file has no splits"),
        ({"source": "a.jsonl", "subset": "main"}, "hub data sets only"),
        ({"source": "a.jsonl", "params": {"count": 1}}, "procedural sources"),
        ({"source": "a.jsonl", "system": "be brief"}, 'template = "chat" only'),
        ({"source": "a.jsonl", "answer_field": None, "answer_pattern": "(x)"}, "needs an answer_field"),
        ({"source": "a.jsonl", "answer_pattern": "x"}, "exactly one group, has 0"),
        ({"source": "a.jsonl", "answer_pattern": "(x"}, "not a regular expression"),
        ({"source": "chain", "params": {"min_opz": 3}}, r"params\.min_opz = 3"),
        ({"source": "chain", "params": {"min_ops": 5}}, "min_ops = 5 is above max_ops = 4"),
        ({"source": "r1-world"}, "asks for nothing"),
        ({"source": "r1-world", "params": {"math": 1, "languages": ["fr"]}}, r"params\.languages\.0 = 'fr'"),
        ({"source": ""}, "at least 1 character"),
    ],
)
def test_contradictions_are_refused_with_a_reason(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DatasetConfig.model_validate(options)
