# SPDX-License-Identifier: Apache-2.0
"""Rows that decontaminate.py only flagged: dropped by curate.py, told in cards, warned of before a training."""

import logging
from pathlib import Path

import pytest

from open_r1.configs import SFTScriptArguments
from open_r1.data.card import FATE, REMOVED, read_card
from open_r1.data.training_rows import get_dataset
from open_r1.preflight import warn_of_contaminated
from scripts.curate import main as curate
from scripts.decontaminate import main as decontaminate
from tests.rows.generations import rows_of, write_rows

WORDS = "one two three four five six seven eight nine"
ANSWER = "<think>\nI count them one by one.\n</think>\n\nThe answer is \\boxed{9}."


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Four rows, of which two stand in the benchmark."""
    folder = tmp_path_factory.mktemp("files")
    texts = ["How many words are in: alpha beta?", f"How many? {WORDS}", "What is left of it?", f"Count {WORDS} all"]
    rows = [{"problem": text, "answer": "9", "generations": [ANSWER]} for text in texts]
    write_rows(folder / "bench.jsonl", [{"problem": WORDS.upper()}])
    return folder, [
        "--dataset",
        write_rows(folder / "rows.jsonl", rows),
        "--benchmark_file",
        str(folder / "bench.jsonl"),
    ]


@pytest.fixture(scope="module")
def flagged(files) -> str:
    folder, words = files
    assert decontaminate([*words, "--output_dir", str(folder / "flagged")]) == 0
    return str(folder / "flagged")


@pytest.fixture(scope="module")
def cleaned(files) -> str:
    folder, words = files
    assert decontaminate([*words, "--cleanup", "--output_dir", str(folder / "cleaned")]) == 0
    return str(folder / "cleaned")


def arguments(name: str) -> SFTScriptArguments:
    return SFTScriptArguments(dataset_name=name, dataset_train_split="train", dataset_test_split="train")


def warnings_of(name: str, caplog) -> list[str]:
    args = arguments(name)
    dataset = get_dataset(args)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="open_r1"):
        warn_of_contaminated(dataset, args)
    return caplog.messages


def test_curation_drops_flagged_rows_in_a_step_of_its_own(flagged, tmp_path, capsys):
    assert curate(["--input", flagged, "--output_dir", str(tmp_path / "out")]) == 0
    assert [row["input_row"] for row in rows_of(tmp_path / "out")] == [0, 2]
    card = read_card(tmp_path / "out")
    step = card.steps[0]
    assert (step.name, step.rows_before, step.rows_after) == ("not flagged as contaminated", 4, 2)
    assert step.detail["dropped: contaminated_bench"] == 2
    assert (card.contamination["flagged_rows"], card.contamination[FATE]) == (2, REMOVED)
    assert "contaminated_bench 2" in capsys.readouterr().out


def test_curation_keeps_flagged_rows_with_their_marks_when_told_to(flagged, tmp_path, caplog):
    assert curate(["--input", flagged, "--output_dir", str(tmp_path / "out"), "--keep-contaminated"]) == 0
    rows = rows_of(tmp_path / "out")
    assert [row["contaminated_bench"] for row in rows] == [False, True, False, True]
    assert read_card(tmp_path / "out").contamination is None
    assert "2 of 4 rows" in warnings_of(str(tmp_path / "out"), caplog)[0]


def test_rows_without_marks_have_no_step_of_their_own(cleaned, tmp_path):
    assert curate(["--input", cleaned, "--output_dir", str(tmp_path / "out")]) == 0
    assert read_card(tmp_path / "out").steps[0].name == "rows"


def test_marks_that_are_no_booleans_are_the_users_own(tmp_path):
    rows = [{"problem": "How many?", "answer": "9", "generations": [ANSWER], "contaminated_soil": "yes"}]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    assert curate(["--input", source, "--output_dir", str(tmp_path / "out")]) == 0
    assert len(rows_of(tmp_path / "out")) == 1


def test_cards_say_what_became_of_flagged_rows(flagged, cleaned):
    for folder, fate in ((flagged, "kept, and marked"), (cleaned, "removed")):
        card = read_card(folder)
        assert card.contamination["flagged_rows"] == 2
        assert card.contamination[FATE].startswith(fate)
        readme = (Path(folder) / "README.md").read_text(encoding="utf-8")
        assert f'"flagged_rows_are": "{fate}' in readme
        assert "removed_by" not in readme


def test_training_is_warned_of_marked_rows(flagged, cleaned, caplog):
    found = warnings_of(flagged, caplog)
    assert len(found) == 1 and "share text with a benchmark" in found[0]
    assert warnings_of(cleaned, caplog) == []
