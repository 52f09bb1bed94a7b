# SPDX-License-Identifier: Apache-2.0
"""Points of test-time compute, the curves that they make, and what s1 measures of them."""

import math

import pytest

from open_r1.test_time import curves
from open_r1.test_time.methods import Attempt, Setting


def attempts_at(setting, scores, tokens, budget=None):
    """One attempt a problem."""
    details = {} if budget is None else {"budget_tokens": budget}
    return [
        Attempt(row, setting, [("x", 1.0)], count, count + 10, score=score, details=details)
        for row, (score, count) in enumerate(zip(scores, tokens, strict=True))
    ]


def forced(budget, scores, tokens, num_waits=0):
    setting = Setting("budget_forcing", {"budget": budget, "num_waits": num_waits})
    return attempts_at(setting, scores, tokens, 1000 if budget == "auto" else budget)


def points_of(attempts, clusters=None):
    return curves.points_of(attempts, clusters or {row: row for row in range(40)})


def forcing_metrics(points):
    (found,) = curves.forcing_of(curves.curves_of(points))
    return {name: value for name, value in found.items() if name not in ("curve", "points")}


def test_a_point_is_the_mean_over_problems_with_its_interval():
    (point,) = points_of(forced(100, [1.0, 0.0, 0.0, 1.0], [100, 60, 80, 80]))
    found = point.figures
    assert found["accuracy"] == 0.5
    assert 0 <= found["accuracy_low"] < 0.5 < found["accuracy_high"] <= 1
    assert (found["thinking_tokens"], found["total_tokens"], found["within_budget"]) == (80, 90, 1.0)
    assert (found["problems"], found["attempts"], found["lost"]) == (4, 4, 0)


def test_attempts_that_nobody_can_judge_are_left_out_and_counted():
    (point,) = points_of(attempts_at(Setting("cot"), [1.0, math.nan], [10, 20]))
    assert (point.figures["accuracy"], point.figures["problems"], point.figures["lost"]) == (1.0, 1, 1)
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
    found = {
        curve.label: [point.setting.values.get("budget") for point in curve.points]
        for curve in curves.curves_of(points)
    }
    assert found == {
        "budget_forcing num_waits=0": [100, 400],
        "budget_forcing num_waits=2": [100, 400],
        "greedy": [None],
    }


def test_waits_make_the_curve_where_budgets_are_all_alike():
    points = points_of([one for waits in (0, 1) for one in forced("auto", [1.0], [100 + waits], waits)])
    (curve,) = curves.curves_of(points)
    assert (curve.label, curve.along) == ("budget_forcing", "num_waits")


@pytest.mark.parametrize("tokens", [[0, 500, 9000], [100, 110, 120], [0, 0, 0]])
def test_curves_are_drawn_whatever_the_tokens(tmp_path, tokens):
    points = points_of([one for n, count in enumerate(tokens) for one in forced(n, [1.0, 0.0], [count, count])])
    curves.draw_curves(curves.curves_of(points), tmp_path / "curve.png", "model on data")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_what_an_oracle_chose_is_named_an_upper_bound_wherever_it_stands():
    settings = [Setting("best_of_n", {"n": n, "scorer": "oracle"}) for n in (2, 4)]
    (curve,) = curves.curves_of(points_of([one for each in settings for one in attempts_at(each, [1.0], [10])]))
    assert curve.label == "best_of_n oracle (upper bound)"
    assert settings[0].label == "best_of_n n=2 scorer=oracle (upper bound)"
