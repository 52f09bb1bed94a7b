# SPDX-License-Identifier: Apache-2.0
"""Points of test-time compute, the curves that they make, and what s1 measures of them."""

import json
import math

import pytest

from open_r1.test_time.curves import curves_of, draw_curves, forcing_metrics
from open_r1.test_time.results import Attempt, Setting, from_record, points_of, to_record


def attempts_at(setting, scores, tokens, budget=None):
    """One attempt a problem."""
    details = {} if budget is None else {"budget_tokens": budget}
    return [
        Attempt(row, "x", count, count + 10, score=score, setting=setting, details=details)
        for row, (score, count) in enumerate(zip(scores, tokens, strict=True))
    ]


def forced(budget, scores, tokens, num_waits=0):
    setting = Setting("budget_forcing", {"budget": budget, "num_waits": num_waits})
    return attempts_at(setting, scores, tokens, 1000 if budget == "auto" else budget)


def test_a_point_is_the_mean_over_problems_with_its_interval():
    (point,) = points_of(forced(100, [1.0, 0.0, 0.0, 1.0], [100, 60, 80, 80]))
    assert point.accuracy.mean == 0.5
    assert 0 <= point.accuracy.low < 0.5 < point.accuracy.high <= 1
    assert (point.thinking_tokens.mean, point.total_tokens, point.within_budget) == (80, 90, 1.0)
    assert (point.num_problems, point.num_attempts, point.num_lost) == (4, 4, 0)


def test_repeats_of_a_problem_are_one_problem():
    setting = Setting("cot")
    attempts = [*attempts_at(setting, [1.0, 0.0], [10, 20]), *attempts_at(setting, [0.0, 0.0], [30, 20])]
    (point,) = points_of(attempts)
    assert (point.accuracy.mean, point.num_problems, point.num_attempts) == (0.25, 2, 4)
    assert len(point.accuracy.scores_P) == 2


def test_rows_that_ask_the_same_are_one_problem_in_intervals():
    scores, tokens = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0], [10, 20, 35, 40, 60, 61]
    (once,) = points_of(forced(100, scores, tokens))
    (found,) = points_of(forced(100, scores * 4, tokens * 4), {row: f"problem {row % 6}" for row in range(24)})
    for name in ("accuracy", "thinking_tokens"):
        now, before = getattr(found, name), getattr(once, name)
        assert (now.mean, now.low, now.high) == pytest.approx((before.mean, before.low, before.high))
    assert (found.num_problems, found.as_json()["problems"], found.num_attempts) == (6, 6, 24)


def test_rows_that_ask_the_same_each_count_in_the_mean():
    (found,) = points_of(forced(100, [1.0, 1.0, 1.0, 0.0], [10, 10, 10, 50]), {0: "a", 1: "a", 2: "a", 3: "b"})
    assert (found.accuracy.mean, found.thinking_tokens.mean, found.num_problems) == (0.75, 20, 2)


def test_one_problem_in_many_rows_has_tokens_without_an_interval():
    (found,) = points_of(forced(100, [1.0] * 40, [10] * 40), dict.fromkeys(range(40), "the same"))
    assert (found.accuracy.low, found.accuracy.high) == (0, 1)
    assert found.as_json()["thinking_tokens_low"] is None


def test_attempts_that_nobody_can_judge_are_left_out_and_counted():
    (point,) = points_of(attempts_at(Setting("cot"), [1.0, math.nan], [10, 20]))
    assert (point.accuracy.mean, point.num_problems, point.num_lost) == (1.0, 1, 1)
    with pytest.raises(ValueError, match="no attempt"):
        points_of(attempts_at(Setting("cot"), [math.nan], [10]))


def test_control_scaling_and_performance_of_s1():
    points = points_of(
        [
            *forced(100, [0.0, 0.0, 0.0, 1.0], [100] * 4),
            *forced(300, [0.0, 0.0, 1.0, 1.0], [300] * 4),
            *forced(600, [1.0, 1.0, 1.0, 0.0], [500] * 4),
        ]
    )
    found = forcing_metrics(points)
    # Slopes: 0.25 in 200 tokens, 0.5 in 400, 0.25 in 200: 1.25 per 1000 tokens each.
    assert found == {"control": 1.0, "control_of_attempts": 1.0, "scaling_per_1000_tokens": 1.25, "performance": 0.75}


def test_control_counts_what_thinks_longer_than_it_may():
    points = points_of([*forced(100, [1.0, 0.0], [100, 101]), *forced(200, [1.0, 0.0], [150, 150])])
    found = forcing_metrics(points)
    assert (found["control"], found["control_of_attempts"]) == (0.5, 0.75)


def test_one_point_has_no_scaling_and_no_budget_no_control():
    found = forcing_metrics(points_of(attempts_at(Setting("greedy"), [1.0, 0.0], [10, 20])))
    assert (found["control"], found["scaling_per_1000_tokens"], found["performance"]) == (None, None, 0.5)


def test_points_of_a_curve_differ_in_one_value_and_are_sorted():
    points = points_of(
        [
            *(one for budget in (400, 100) for waits in (0, 2) for one in forced(budget, [1.0], [budget], waits)),
            *attempts_at(Setting("greedy"), [1.0], [50]),
        ]
    )
    found = {curve.label: [curve.name_of(point) for point in curve.points] for curve in curves_of(points)}
    assert found == {
        "budget_forcing num_waits=0": ["budget=100", "budget=400"],
        "budget_forcing num_waits=2": ["budget=100", "budget=400"],
        "greedy": [""],
    }


def test_waits_make_the_curve_where_budgets_are_all_alike():
    points = points_of([one for waits in (0, 1) for one in forced("auto", [1.0], [100 + waits], waits)])
    (curve,) = curves_of(points)
    assert (curve.label, [curve.name_of(point) for point in curve.points]) == (
        "budget_forcing",
        ["num_waits=0", "num_waits=1"],
    )


@pytest.mark.parametrize("tokens", [[0, 500, 9000], [100, 110, 120], [0, 0, 0]])
def test_curves_are_drawn_whatever_the_tokens(tmp_path, tokens):
    points = points_of([one for n, count in enumerate(tokens) for one in forced(n, [1.0, 0.0], [count, count])])
    draw_curves(curves_of(points), tmp_path / "curve.png", "model on data")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_what_an_oracle_chose_is_named_an_upper_bound_wherever_it_stands():
    settings = [Setting("best_of_n", {"n": n, "scorer": "oracle"}) for n in (2, 4)]
    points = points_of([one for setting in settings for one in attempts_at(setting, [1.0], [10])])
    (curve,) = curves_of(points)
    assert curve.label == "best_of_n oracle (upper bound)"
    assert settings[0].label == "best_of_n n=2 scorer=oracle (upper bound)"
    other = Setting("best_of_n", {"n": 2, "scorer": "prm", "scorer_fingerprint": "0f"})
    assert other.label == "best_of_n n=2 scorer=prm"
    assert not other.is_upper_bound


def test_curves_of_several_scorers_are_told_apart():
    def labels(*settings):
        points = points_of([one for setting in settings for one in attempts_at(setting, [1.0], [10])])
        return [curve.label for curve in curves_of(points)]

    old, new = (Setting("weighted", {"n": 2, "scorer": "prm", "scorer_fingerprint": name}) for name in ("0f", "1f"))
    oracle = Setting("weighted", {"n": 2, "scorer": "oracle"})
    assert labels(new, oracle) == ["weighted scorer=prm", "weighted scorer=oracle (upper bound)"]
    assert labels(old, new) == ["weighted scorer_fingerprint=0f", "weighted scorer_fingerprint=1f"]


def test_a_record_holds_an_attempt():
    attempt = Attempt(
        3, "so\n2", 5, 9, "2", 1.0, Setting("majority", {"n": 4}), 7, "length", {"votes": [2, 2]}, repeat=2
    )
    record = json.loads(json.dumps(to_record(attempt, 2)))
    assert from_record(record) == attempt
    assert record["index"] == 2


def test_records_of_other_settings_rows_and_repeats_have_other_names():
    setting = Setting("majority", {"n": 4})
    names = {
        (record["key"], record["index"])
        for record in (
            to_record(Attempt(0, "", 1, 1, setting=setting), 0),
            to_record(Attempt(1, "", 1, 1, setting=setting), 0),
            to_record(Attempt(0, "", 1, 1, setting=setting), 1),
            to_record(Attempt(0, "", 1, 1, setting=Setting("majority", {"n": 8})), 0),
            to_record(Attempt(0, "", 1, 1, setting=Setting("weighted", {"n": 4})), 0),
        )
    }
    assert len(names) == 5


def test_an_attempt_that_could_not_be_judged_stays_so_in_a_record():
    record = to_record(Attempt(0, "", 1, 1, setting=Setting("cot")), 0)
    assert record["score"] is None
    assert math.isnan(from_record(json.loads(json.dumps(record))).score)


def test_choices_that_could_not_be_judged_are_kept_to_be_judged_again():
    chances = (("2", 0.25), ("3", 0.75))
    record = json.loads(json.dumps(to_record(Attempt(0, "3", 1, 1, setting=Setting("majority"), chances=chances), 0)))
    assert from_record(record).chances == chances
    judged = to_record(Attempt(0, "3", 1, 1, score=0.25, setting=Setting("majority"), chances=chances), 0)
    assert judged["chances"] == []
