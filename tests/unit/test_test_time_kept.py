# SPDX-License-Identifier: Apache-2.0
"""What of a journal makes points: whole settings, of this command and of earlier ones."""

from open_r1.test_time.kept import kept_of
from open_r1.test_time.results import Setting

GREEDY, FORCED = Setting("greedy"), Setting("budget_forcing", {"budget": 4})
VOTE = Setting("majority", {"n": 2})


def records_at(setting, rows, repeats=1, **more):
    return [
        {"method": setting.method, "values": dict(setting.values), "row": row, "index": repeat, **more}
        for row in rows
        for repeat in range(repeats)
    ]


def names_of(kept):
    return [(record["method"], record["row"], record["index"]) for record in kept.records]


def once(_):
    return 1


def test_whole_settings_of_earlier_commands_come_after_those_of_this_one():
    records = [*records_at(FORCED, [1, 0]), *records_at(GREEDY, [0, 1])]
    kept = kept_of(records, [GREEDY], [0, 1], once)
    assert names_of(kept) == [("greedy", 0, 0), ("greedy", 1, 0), ("budget_forcing", 0, 0), ("budget_forcing", 1, 0)]
    assert kept.notes() == []


def test_settings_that_lack_problems_or_repeats_are_left_out_and_named():
    records = [*records_at(GREEDY, [0, 1]), *records_at(FORCED, [0]), *records_at(VOTE, [0, 1])]
    kept = kept_of(records, [GREEDY], [0, 1], lambda method: 2 if method == "majority" else 1)
    assert names_of(kept) == [("greedy", 0, 0), ("greedy", 1, 0)]
    (note,) = kept.notes()
    assert "budget_forcing budget=4, majority n=2: the journal has not all of these problems and repeats" in note


def test_problems_and_repeats_beyond_those_that_are_asked_for_do_not_count():
    kept = kept_of(records_at(VOTE, range(5), repeats=3), [], [0, 3], lambda _: 2)
    assert names_of(kept) == [("majority", row, repeat) for row in (0, 3) for repeat in (0, 1)]


def test_the_later_record_of_an_attempt_counts():
    records = [*records_at(GREEDY, [0], text="old"), *records_at(GREEDY, [0], text="new")]
    (record,) = kept_of(records, [GREEDY], [0], once).records
    assert record["text"] == "new"


def test_a_scorer_that_has_changed_is_replaced_by_the_one_under_its_name():
    old, new = (Setting("weighted", {"n": 2, "scorer": "prm", "scorer_fingerprint": name}) for name in ("0f", "1f"))
    records = [*records_at(old, [0]), *records_at(new, [0])]
    (record,) = kept_of(records, [new], [0], once).records
    assert record["values"]["scorer_fingerprint"] == "1f"
    assert len(kept_of(records, [GREEDY], [0], once).records) == 2


def test_records_that_do_not_count_are_as_if_they_were_not_there():
    records = [*records_at(GREEDY, [0, 1], text="old"), *records_at(GREEDY, [0], text="lost"), *records_at(VOTE, [0])]
    kept = kept_of(records, [GREEDY], [0, 1], once, lambda record: record.get("text") == "old")
    assert [record["text"] for record in kept.records] == ["old", "old"]
    assert kept.unfinished == [VOTE]
