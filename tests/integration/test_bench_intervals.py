# SPDX-License-Identifier: Apache-2.0
"""The simulation of intervals: its page, and the usual methods by printed values."""

from collections import Counter

import numpy as np
import pytest

from scripts.bench_intervals import CHANGED, METHODS, PAIR_ANSWERS, SITUATIONS, main, measure_pairs

RNG = np.random.default_rng(0)


# As printed in textbooks: with one answer a problem, the methods are those of proportions.
@pytest.mark.parametrize(
    ("method", "right", "count", "low", "high"),
    [
        ("Korn-Graubard", 3, 10, 0.0667, 0.6525),
        ("Korn-Graubard", 9, 20, 0.2306, 0.6847),
        ("Wilson of P", 3, 10, 0.1078, 0.6032),
        ("Wilson of P", 0, 10, 0.0, 0.2775),
    ],
)
def test_usual_methods_give_the_printed_intervals(method, right, count, low, high):
    scores = np.array([[1.0] * right + [0.0] * (count - right)])
    ends = METHODS[method](scores, 1, RNG)
    assert (ends[0][0], ends[1][0]) == pytest.approx((low, high), abs=5e-3)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_rates_have_the_mean_that_intervals_are_judged_by(situation):
    draw, mean = SITUATIONS[situation]
    assert draw(RNG, 40_000).mean() == pytest.approx(mean, abs=0.01)


def test_the_page_has_all_methods_and_situations(tmp_path, capsys):
    assert main(["--rounds", "1", "--table", str(tmp_path / "page.md")]) == 0
    page = (tmp_path / "page.md").read_text()
    assert page == capsys.readouterr().out[:-1]
    assert all(page.count(f"| {name} |") == 2 for name in METHODS)
    times = Counter(situation for situation, _ in CHANGED)
    for name in SITUATIONS:
        assert page.count(f"| {name} |") == 1 + 2 * len(PAIR_ANSWERS) * times[name]


def test_intervals_of_pairs_hold_the_change():
    middling, changes = "middling: beta(2, 3)", ("none", "5 points in each", "1 in 5 to 0.8")
    found = measure_pairs(40, 1, [(middling, change) for change in changes])
    for change in changes:
        for answers in PAIR_ANSWERS:
            assert found[middling, change, 30, answers][0] >= 0.9
            assert found[middling, change, 5, answers][1] == 0
    assert found[middling, "5 points in each", 30, 64][2] < 0.07


def test_no_rounds_are_refused():
    with pytest.raises(SystemExit) as ended:
        main(["--rounds", "0"])
    assert ended.value.code == 2
