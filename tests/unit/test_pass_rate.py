# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of pass rates, calls of rewards by whole groups, and merging of shards."""

import json
import math

import pyarrow as pa
import pytest

from open_r1.curation.pass_rate import PassRateParameters, Status, merge_shards, shard_folder
from open_r1.curation.pass_rate.publishing import Tally, added_columns, write
from open_r1.curation.pass_rate.rates import mean, rates_of, status_of
from open_r1.curation.pass_rate.scoring import (
    MOST_LOST_ROWS,
    Group,
    RewardsDownError,
    Scorer,
    chunks,
    from_json,
    to_json,
)
from open_r1.data.card import DataCard, Parent
from open_r1.data.folder import DatasetFolder
from open_r1.rewards import UNSCORABLE


def group(row: int, *texts: str, prompt: str | None = None, **columns) -> Group:
    message = [{"role": "user", "content": prompt or f"row {row}"}]
    return Group(row, {"prompt": message, **columns}, tuple(range(len(texts))), texts, [[1]] * len(texts))


def scorer(*rewards, **settings) -> Scorer:
    return Scorer({reward.__name__: reward for reward in rewards}, given={}, pause_s=0.0, **settings)


def length_reward(completions, **columns):
    return [float(len(completion[0]["content"])) for completion in completions]


# --- arithmetic


@pytest.mark.parametrize(
    ("rewards", "weights", "combined", "rate"),
    [
        ({"a": [1.0, 0.0, 1.0, 1.0]}, {"a": 1.0}, [1.0, 0.0, 1.0, 1.0], 0.75),
        ({"a": [1.0, 0.0], "b": [0.0, 1.0]}, {"a": 0.75, "b": 0.25}, [0.75, 0.25], 0.5),
        ({"a": [1.0, None], "b": [1.0, 0.5]}, {"a": 0.5, "b": 0.5}, [1.0, 0.25], 0.625),  # as TRL's nansum
        ({"a": [1.0, None]}, {"a": 1.0}, [1.0, None], 1.0),
        ({"a": [None, None]}, {"a": 1.0}, [None, None], None),
        ({"a": [None, 1.0], "watched": [1.0, 1.0]}, {"a": 1.0, "watched": 0.0}, [None, 1.0], 1.0),
    ],
)
def test_rewards_are_summed_by_weight_and_averaged_over_what_applies(rewards, weights, combined, rate):
    found = rates_of(rewards, weights)
    assert (found.combined, found.rate) == (combined, rate)


def test_a_failure_of_ours_is_no_number():
    found = rates_of({"a": [1.0, UNSCORABLE], "b": [1.0, 1.0]}, {"a": 0.5, "b": 0.5})
    assert math.isnan(found.rate)
    assert found.by_reward["b"] == 1.0


def test_a_watched_reward_that_fails_takes_nothing_away():
    assert rates_of({"a": [1.0, 0.0], "b": [UNSCORABLE, 1.0]}, {"a": 1.0, "b": 0.0}).rate == 0.5


def test_mean_of_nothing_is_none():
    assert mean([]) is None


@pytest.mark.parametrize(
    ("rate", "status"),
    [
        (0.1, Status.KEPT),
        (0.9, Status.KEPT),
        (0.3, Status.KEPT),
        (math.nextafter(0.1, 0), Status.KEPT),  # a sum of weights is off by a bit
        (0.0999, Status.TOO_HARD),
        (0.9001, Status.TOO_EASY),
        (None, Status.UNJUDGED),
        (math.nan, Status.UNSCORABLE),
    ],
)
def test_both_bounds_are_kept(rate, status):
    assert status_of(rate, 0.1, 0.9) is status


def test_nan_survives_json():
    values = [1.0, None, UNSCORABLE]
    found = from_json(json.loads(json.dumps(to_json(values))))
    assert found[:2] == [1.0, None]
    assert math.isnan(found[2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pass_rate_min": 0.9, "pass_rate_max": 0.1}, "no row could be kept"),
        ({"pass_rate_min": math.nan}, "`pass_rate_min` is nan"),
        ({"pass_rate_max": math.inf}, "`pass_rate_max` is inf"),
        ({"dataset_start_index": -1}, "count from 0"),
        ({"dataset_start_index": 5, "dataset_end_index": 5}, "Rows 5 to 5"),
        ({"dataset_shard": "8/8"}, "7/8 for the last"),
        ({"dataset_shard": "half"}, "0/8 for the first of eight"),
        ({"dataset_shard": "0/2", "dataset_end_index": 5}, "give one of them"),
        ({"max_concurrent": 0}, "at least 1"),
        ({"gpu_memory_utilization": 1.5}, "it is a share"),
    ],
)
def test_parameters_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PassRateParameters(**settings).check()


@pytest.mark.parametrize(("num_rows", "count"), [(1, 1), (5, 2), (5, 5), (17_398, 87), (1_000, 7)])
def test_equal_shards_hold_every_row_once(num_rows, count):
    shards = [PassRateParameters(dataset_shard=f"{number}/{count}").rows(num_rows) for number in range(count)]
    assert [row for start, end in shards for row in range(start, end)] == list(range(num_rows))
    assert len({end - start for start, end in shards}) <= 2


def test_more_shards_than_rows_are_refused():
    with pytest.raises(ValueError, match="only 5 rows"):
        PassRateParameters(dataset_shard="0/6").rows(5)


# --- groups


def test_values_of_two_rewards_stay_apart():
    def index_reward(completions, prompts, **columns):
        return [float(place) for place in range(len(completions))]

    found = scorer(length_reward, index_reward).score([group(0, "a", "bb"), group(1, "ccc", "dddd")])
    assert found == [
        {"length_reward": [1.0, 2.0], "index_reward": [0.0, 1.0]},
        {"length_reward": [3.0, 4.0], "index_reward": [2.0, 3.0]},
    ]


def test_a_reward_sees_what_the_trainer_passes():
    seen = {}

    def spy_reward(**columns):
        seen.update(columns)
        return [None] * len(columns["completions"])

    Scorer({"spy": spy_reward}, given={"trainer_state": "state"}).score([group(0, "a", "b", solution="4")])
    assert seen["completions"] == [[{"role": "assistant", "content": "a"}], [{"role": "assistant", "content": "b"}]]
    assert seen["prompts"] == [[{"role": "user", "content": "row 0"}]] * 2
    assert (seen["solution"], seen["completion_ids"], seen["trainer_state"]) == (["4", "4"], [[1], [1]], "state")
    assert {"log_extra", "log_metric"} <= seen.keys()
    assert "prompt" not in seen


def test_a_group_is_never_cut():
    sizes = [len(chunk) for chunk in chunks([group(row, *"abcd") for row in range(5)], most=10)]
    assert sizes == [2, 2, 1]
    assert [len(chunk) for chunk in chunks([group(row, *"abcd") for row in range(3)], most=3)] == [1, 1, 1]


def test_equal_prompts_in_a_row_go_to_different_calls():
    found = chunks([group(0, "a", prompt="same"), group(1, "b", prompt="same"), group(2, "c")])
    assert [[entry.row for entry in chunk] for chunk in found] == [[0], [1, 2]]


def test_only_groups_that_could_not_be_judged_are_asked_again():
    calls = []

    def shaky_reward(completions, **columns):
        texts = [completion[0]["content"] for completion in completions]
        calls.append(texts)
        return [UNSCORABLE if text == "b" and len(calls) < 3 else 1.0 for text in texts]

    assert scorer(shaky_reward).score([group(0, "a"), group(1, "b", "c")]) == [
        {"shaky_reward": [1.0]},
        {"shaky_reward": [1.0, 1.0]},
    ]
    assert calls == [["a", "b", "c"], ["b", "c"], ["b", "c"]]


def test_an_outage_ends_the_run_and_a_single_bad_row_does_not():
    def down_reward(completions, **columns):
        return [UNSCORABLE] * len(completions)

    judge = scorer(down_reward, tries=1)
    for row in range(MOST_LOST_ROWS - 1):
        judge.score([group(row, "a")])
    with pytest.raises(RewardsDownError, match="a service that a reward needs is down"):
        judge.score([group(7, "a")])


def test_a_reward_of_the_wrong_length_is_named():
    def short_reward(completions, **columns):
        return [1.0]

    with pytest.raises(ValueError, match="'short_reward'"):
        scorer(short_reward).score([group(0, "a", "b")])


def test_a_reward_that_raises_names_its_rows():
    def broken_reward(completions, **columns):
        raise KeyError("tests")

    with pytest.raises(KeyError) as caught:
        scorer(broken_reward).score([group(3, "a")])
    assert "broken_reward' failed on rows 3 to 3" in caught.value.__notes__[0]


# --- shards


def write_shard(path, start, end, *, num_rows=6, fingerprint="f", **settings):
    card = DataCard(
        name="rates",
        settings={"bounds": [0.1, 0.9], "num_rows": num_rows, "model": "m", **settings, "rows": [start, end]},
        parents=[Parent("rows.jsonl", fingerprint=fingerprint, licence="mit")],
    )
    tally = Tally()
    with DatasetFolder(shard_folder(path, start, end), card) as folder:
        statuses = [Status.KEPT if row % 2 else Status.TOO_EASY for row in range(start, end)]
        columns = {name: pa.nulls(end - start, pa.list_(pa.string())) for name in added_columns(["a"])}
        columns |= {"row": pa.array(range(start, end)), "pass_rate_status": pa.array(list(map(str, statuses)))}
        write(folder, pa.table(columns), tally)
    return path


def test_merging_again_changes_nothing(tmp_path):
    write_shard(tmp_path, 0, 6)
    merge_shards(tmp_path)
    assert merge_shards(tmp_path) is None


def test_a_folder_of_something_else_is_no_shard(tmp_path):
    with DatasetFolder(shard_folder(tmp_path, 0, 3), DataCard("other", {})) as folder:
        folder.write([{"n": 1}])
    with pytest.raises(ValueError, match="no shard of pass rates"):
        merge_shards(tmp_path)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([], "no finished shard"),
        ([(0, 2), (4, 6)], "Rows 2-4 of 6 are in no finished shard"),
        ([(2, 4)], "Rows 0-2, 4-6 of 6"),
        ([(0, 3), (2, 6)], "000000-000003 and 000002-000006 overlap"),
    ],
)
def test_gaps_and_overlaps_are_refused(tmp_path, ranges, message):
    for start, end in ranges:
        write_shard(tmp_path, start, end)
    with pytest.raises(ValueError, match=message):
        merge_shards(tmp_path)


def test_a_shard_that_was_begun_is_named(tmp_path):
    write_shard(tmp_path, 0, 3)
    shard_folder(tmp_path, 3, 6).mkdir(parents=True)
    with pytest.raises(ValueError, match="000003-000006"):
        merge_shards(tmp_path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"model": "n"}, "model was 'm' and is now 'n'"),
        ({"bounds": [0.2, 0.8]}, "bounds was"),
        ({"fingerprint": "g"}, "the source was"),
    ],
)
def test_shards_of_other_settings_are_refused(tmp_path, other, message):
    write_shard(tmp_path, 0, 3)
    write_shard(tmp_path, 3, 6, **other)
    with pytest.raises(ValueError, match=message):
        merge_shards(tmp_path)
