"""The content digest: stable over releases, for names on disk and keys of graph nodes depend on it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.digests import digest_bytes, digest_file, digest_json, digest_lines

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_bytes_files_and_parts_have_one_digest(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("digest") / "file"
    path.write_bytes(b"".join(parts))
    expected = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    assert digest_bytes(parts) == digest_file(path) == expected


def test_known_values() -> None:
    assert digest_bytes([b"abc"]) == "ba7816bf8f01cfea"  # FIPS 180-4
    assert digest_lines(["a", "b"]) == hashlib.sha256(b"a\nb").hexdigest()[:16]
    assert digest_json({"b": 1, "a": "é"}) == hashlib.sha256('{"a": "é", "b": 1}'.encode()).hexdigest()[:16]


@given(st.dictionaries(st.text(min_size=1), JSON, min_size=2, max_size=4))
def test_the_order_of_keys_does_not_count(value: dict[str, object]) -> None:
    assert digest_json(value) == digest_json(dict(reversed(value.items())))


@given(JSON, JSON)
def test_other_values_have_other_digests(one: object, other: object) -> None:
    assert (digest_json(one) == digest_json(other)) == (repr_json(one) == repr_json(other))


def repr_json(value: object) -> str:
    """JSON's own idea of equality: 1, 1.0 and true differ."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{repr_json(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(repr_json, value)) + "]"
    return repr(value)


def test_what_json_does_not_know_needs_a_default() -> None:
    with pytest.raises(TypeError):
        digest_json({1, 2})
    assert digest_json(Path("a"), default=str) == digest_json("a")
