"""One value is one reference, whatever type a file stores it in; what nothing equals is refused by its location."""

from decimal import Decimal

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from data_recipes.config import DatasetConfig
from data_recipes.errors import DataError
from data_recipes.prompts.answers import to_reference
from data_recipes.prompts.rows import read_rows
from rewards.math.accuracy import accuracy
from rewards.rows import RewardRow


def read(value: object) -> object:
    return to_reference("f.jsonl, line 3", "answer", value)


@given(st.integers(-(10**14), 10**14), st.integers(0, 6))
def test_an_integer_is_one_reference_in_every_type(number: int, zeros: int) -> None:
    spelled = [number, float(number), Decimal(number), Decimal(f"{number}.{'0' * (zeros + 1)}")]
    assert [read(value) for value in spelled] == [number] * 4
    assert {type(read(value)) for value in spelled} == {int}


@given(st.integers(-(10**9), 10**9), st.integers(1, 6))
def test_a_decimal_is_the_number_that_is_written(digits: int, places: int) -> None:
    value = Decimal(digits).scaleb(-places)
    reference = read(value)
    assert Decimal(str(reference)) == value
    assert reference == read(float(value))
    row = RewardRow(f"<answer>{value}</answer>", answer=reference)
    assert accuracy(row).total == 1.0


def test_a_decimal_that_no_float_holds_stays_exact() -> None:
    assert read(Decimal("0.10000000000000000000001")) == "0.10000000000000000000001"


NAN = float("nan")


@pytest.mark.parametrize(
    "value",
    [
        NAN, float("inf"), -float("inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), "nan", " NaN ", "<NA>",
        None, "", " ", [], [1, NAN], [None], ["a", Decimal("NaN")], ["nan"], {"a": 1}, b"12",
    ],
)  # fmt: skip
def test_what_nothing_equals_is_refused_by_file_line_and_field(value: object) -> None:
    with pytest.raises(DataError, match=r"^f\.jsonl, line 3: answer = "):
        read(value)


def test_text_lists_and_booleans_stay() -> None:
    for value in ("12,600", "nano", ["1", 2], True, 10**30, "∞"):
        assert read(value) == value


def test_parquet_columns(tmp_path) -> None:
    path = tmp_path / "rows.parquet"
    columns = {
        "question": ["a", "b", "c"],
        "money": pyarrow.array([Decimal("41250.00"), Decimal("0.50"), None], pyarrow.decimal128(12, 2)),
        "count": pyarrow.array([7.0, float("nan"), 12.0], pyarrow.float64()),
    }
    parquet.write_table(pyarrow.table(columns), path)
    rows = list(read_rows(DatasetConfig(source=str(path))))
    assert [to_reference(where, "money", row["money"]) for where, row in rows[:2]] == [41250, 0.5]
    with pytest.raises(DataError, match=r"row 3: money = .*no reference answer"):
        to_reference(rows[2][0], "money", rows[2][1]["money"])
    with pytest.raises(DataError, match=r"row 2: count = nan: expected text, a number or a list; a missing"):
        to_reference(rows[1][0], "count", rows[1][1]["count"])


@pytest.mark.parametrize("reference", [[1, NAN], [float("inf")], NAN])
def test_the_reward_gives_no_verdict_for_such_a_reference(reference: object) -> None:
    assert accuracy(RewardRow("<answer>1</answer>", answer=reference)).verdict == "error"
