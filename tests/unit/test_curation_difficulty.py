# SPDX-License-Identifier: Apache-2.0
"""Pass rates: bounds, fractions, and rows joined with those of another data set."""

import json

import pytest

from open_r1.curation.difficulty import (
    Bounds,
    PassRates,
    RowKeys,
    checked_rate,
    make_bounds,
    parse_rate,
    require_same_rows,
)
from open_r1.data.sources import open_source

NAN = float("nan")


@pytest.mark.parametrize(
    ("rate", "fault"),
    [
        (0.0, "too_hard"),
        (1 / 32, None),
        (2 / 32, None),
        (3 / 32, None),
        (0.09375, None),
        (4 / 32, "too_easy"),
        (1.0, "too_easy"),
        (None, "no_pass_rate"),
        (NAN, "no_pass_rate"),
    ],
)
def test_bounds_are_included(rate, fault):
    assert make_bounds("1/32", "3/32", "hard").fault_of(rate) == fault


def test_rates_of_32_bits_reach_the_bounds():
    third_in_32_bits = 0.3333333432674408
    assert Bounds(0.0, 1 / 3).fault_of(third_in_32_bits) is None


@pytest.mark.parametrize(("text", "rate"), [("0", 0.0), (0, 0.0), ("3/32", 0.09375), (" 1/2 ", 0.5), (0.1, 0.1)])
def test_rates_are_numbers_or_fractions(text, rate):
    assert parse_rate(text, "--hard_max") == rate


@pytest.mark.parametrize("text", ["", "three", "1/0", "1/2/3", "-0.1", "1.5", "33/32", None, "nan"])
def test_other_rates_are_refused(text):
    with pytest.raises(ValueError, match="--hard_max is"):
        parse_rate(text, "--hard_max")


def test_bounds_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match="--hard_min 1/2"):
        make_bounds("1/2", "1/4", "hard")


@pytest.mark.parametrize("value", ["0.5", True, -0.1, 1.5, [0.5]])
def test_columns_without_rates_are_refused(value):
    with pytest.raises(ValueError, match="row 3: the pass rate is"):
        checked_rate(value, "row 3")


def test_equal_rows_have_keys_of_their_own():
    keys = RowKeys()
    found = [keys.key(value) for value in ["a", "b", "a", None, {"x": 1}, "a"]]
    assert len(set(found)) == 6
    again = RowKeys()
    assert [again.key(value) for value in ["b", "a", "a", "a"]] == [found[1], found[0], found[2], found[5]]


@pytest.fixture
def rates(tmp_path):
    rows = [{"problem": name, "pass_rate": rate} for name, rate in (("a", 0.0), ("b", 0.5), ("c", None), ("a", 1.0))]
    path = tmp_path / "rates.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return PassRates(open_source(str(path)), "problem", "pass_rate")


def keys_of(*values: str) -> list[int]:
    keys = RowKeys()
    return [keys.key(value) for value in values]


def test_rows_find_their_pass_rates_in_any_order(rates):
    assert [rates[key] for key in keys_of("c", "a", "b", "a")] == [None, 0.0, 0.5, 1.0]
    assert require_same_rows(rates, keys_of("b", "a"), "problem", may_miss=False) == 0


def rates_of(tmp_path, rows: list[dict], column: str = "id") -> PassRates:
    path = tmp_path / "rates.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return PassRates(open_source(str(path)), column, "pass_rate")


def test_one_pass_rate_serves_all_rows_of_its_problem(tmp_path):
    rates = rates_of(tmp_path, [{"id": "a", "pass_rate": 0.0}, {"id": "b", "pass_rate": 0.5}])
    assert [rates[key] for key in rates.keys(["a", "b", "a", "a", "b"])] == [0.0, 0.5, 0.0, 0.0, 0.5]


def test_rows_without_an_id_have_no_pass_rate(tmp_path):
    rates = rates_of(tmp_path, [{"id": "a", "pass_rate": 0.0}, {"id": None, "pass_rate": 1.0}])
    keys = list(rates.keys([None, "a", None]))
    assert [key in rates for key in keys] == [False, True, False]
    with pytest.raises(ValueError, match="2 have null there"):
        require_same_rows(rates, keys, "id", may_miss=False)


def test_whole_numbers_and_fractions_are_the_same_id(tmp_path):
    rates = rates_of(tmp_path, [{"id": 1.0, "pass_rate": 0.5}, {"id": 2.5, "pass_rate": 0.0}])
    assert [rates[key] for key in rates.keys([1, 2.5])] == [0.5, 0.0]


@pytest.mark.parametrize(("last", "num_warnings"), [(0.0, 0), (1.0, 1)])
def test_ids_with_several_pass_rates_are_warned_of(tmp_path, caplog, last, num_warnings):
    rates = rates_of(tmp_path, [{"id": "a", "pass_rate": 0.0}, {"id": "a", "pass_rate": last}])
    assert len([record for record in caplog.records if "--join_column" in record.message]) == num_warnings
    assert [rates[key] for key in rates.keys(["a", "a"])] == [0.0, last]


def test_pass_rates_of_other_problems_are_refused(rates):
    with pytest.raises(ValueError, match="0 of 2 rows"):
        require_same_rows(rates, keys_of("x", "y"), "problem", may_miss=True)


def test_missing_pass_rates_are_refused_unless_allowed(rates):
    with pytest.raises(ValueError, match="row 1"):
        require_same_rows(rates, keys_of("a", "y"), "problem", may_miss=False)
    assert require_same_rows(rates, keys_of("a", "y"), "problem", may_miss=True) == 1
