# SPDX-License-Identifier: Apache-2.0
"""scripts/curate.py from generations to rows that sft.py trains on, through kills, hangs and refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from open_r1.configs import SFTScriptArguments
from open_r1.data.card import DataCard, Parent, read_card
from open_r1.data.folder import DatasetFolder
from open_r1.data.training_rows import get_dataset
from scripts.curate import build_parser, main
from tests.integration.tiny import build_tiny
from tests.rows.generations import CORPUS, completion, made_row, pool_rows, rows_of, write_rates, write_rows

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").glob("**/curation/config_*.yaml"))
FILTERS = [
    "--readability",
    "no_words",
    "mixed_language",
    "long_paragraph",
    "code_block",
    "--duplicates",
    "exact_problems",
]


def kept_in(folder: Path) -> list[tuple[str, int]]:
    return [(row["uuid"], row["generation_index"]) for row in rows_of(folder)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    """The corpus as generate_reasoning.py leaves it, with a card."""
    folder = tmp_path_factory.mktemp("corpus") / "generations"
    card = DataCard(
        "generations",
        {},
        [Parent("problems", licence="mit")],
        teacher={"model": "R1"},
        sampling={"temperature": 0.6},
        contamination={"flagged_rows": 0},
    )
    with DatasetFolder(folder, card) as made:
        made.write(CORPUS)
    return str(folder)


@pytest.fixture(scope="module")
def curated(corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("curated") / "out"
    assert main(["--input", corpus, "--output-dir", str(folder), *FILTERS]) == 0
    return folder


def test_survivors_are_those_by_construction(curated):
    expected = [
        (row["uuid"], int(index))
        for row in CORPUS
        if row["uuid"].startswith("kept")
        for index in row["uuid"].partition(":")[2].split(",")
    ]
    assert kept_in(curated) == expected
    first = rows_of(curated)[0]
    assert first["messages"] == [
        {"role": "user", "content": "Find six times seven."},
        {"role": "assistant", "content": completion("six sevens", 42)},
    ]
    assert (first["problem"], first["solution"], first["input_row"], first["verdict"]) == (
        "Find six times seven.",
        "42",
        0,
        "right",
    )


def test_think_tag_of_the_prompt_is_put_back(curated):
    row = next(row for row in rows_of(curated) if row["problem"] == "Find three times two.")
    assert row["messages"][-1]["content"] == completion("three twos", 6)


def test_card_counts_every_step_and_names_the_teacher(curated):
    card = read_card(curated)
    steps = {step.name: step for step in card.steps}
    assert steps["rows"].detail == {"dropped: no_completions": 1, "dropped: no_problem": 1, "problems": 12}
    assert steps["whole"].detail == {
        "dropped: failed": 2,
        "dropped: open_reasoning": 1,
        "dropped: truncated": 1,
        "problems": 9,
    }
    assert steps["correct"].detail["dropped: wrong"] == 3
    assert steps["correct"].detail["dropped: unverifiable"] == 1
    assert {name: count for name, count in steps["readable"].detail.items() if "dropped" in name} == {
        "dropped: code_block": 1,
        "dropped: long_paragraph": 1,
        "dropped: mixed_language": 1,
    }
    assert steps["distinct in its problem"].detail["dropped: repeated"] == 1
    assert steps["exact duplicates of problems"].detail["dropped: repeats_another"] == 1
    for before, after in zip(card.steps[1:], card.steps[2:], strict=False):
        assert before.rows_after == after.rows_before or after.name == "completions of the rows"
    assert card.counts == {"train": 4}
    assert (card.teacher, card.sampling, card.licence) == ({"model": "R1"}, {"temperature": 0.6}, "mit")
    assert card.parents[0].card["contamination"] == {"flagged_rows": 0}


def test_sft_trains_on_the_output(curated, tmp_path):
    tiny = build_tiny(tmp_path / "tiny")
    assert get_dataset(SFTScriptArguments(dataset_name=str(curated)))["train"].num_rows == 4
    metrics = tiny.train("sft", tmp_path / "run", dataset_name=curated, max_steps=2, save_strategy="no")
    assert metrics["train_loss"] > 0


def test_finished_command_has_nothing_to_do(corpus, curated, capsys):
    assert main(["--input", corpus, "--output_dir", str(curated), *FILTERS]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["--input", corpus, "--output_dir", str(curated), *FILTERS, "--max_per_problem", "1"]) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_dry_run_counts_and_writes_nothing(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--input", corpus, "--dry_run", *FILTERS]) == 0
    printed = capsys.readouterr().out
    assert "exact duplicates of problems          5          4  repeats_another 1" in printed
    assert list(tmp_path.iterdir()) == []


def test_verdicts_are_kept_for_other_filters(corpus, tmp_path):
    words = ["--input", corpus, "--output_dir", str(tmp_path / "out"), "--max_per_problem", "1"]
    assert main(words) == 0
    before = (tmp_path / "out" / "verdicts.jsonl").read_bytes()
    assert main([*words, "--order", "shortest", "--overwrite"]) == 0
    assert (tmp_path / "out" / "verdicts.jsonl").read_bytes() == before
    assert main([*words, "--gold_column", "uuid", "--overwrite"]) == 1  # other verdicts, none of which is right
    assert (tmp_path / "out" / "verdicts.1.jsonl").read_bytes() == before


def test_verdicts_of_a_layout_are_known_again_by_another_process(tmp_path):
    rows = [
        {"question": "6 * 7?", "thinking_trajectories": ["six sevens"], "attempt": "\\boxed{42}", "solution": "42"}
    ]
    words = ["--input", write_rows(tmp_path / "rows.jsonl", rows), "--dataset_layout", "s1k"]
    assert main([*words, "--output_dir", str(tmp_path / "out")]) == 0
    header = (tmp_path / "out" / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert "s1k" in header and " at 0x" not in header  # no address of an object


@pytest.fixture
def pool(tmp_path) -> str:
    return write_rows(tmp_path / "pool.jsonl", pool_rows())


@pytest.mark.parametrize(
    ("easy", "hard", "left"),
    [
        (None, None, ["p1", "p3", "p4"]),
        (None, "generations", ["p1", "p3"]),
        ((0.0, 0.0, 0.25, 0.0), "generations", ["p3"]),
        ((0.0, 0.0, None, 0.0), "generations", ["p3"]),
        ((0.5, 0.5, 0.0, 0.0), None, ["p1"]),
    ],
)
def test_difficulty_by_two_pass_rates(pool, tmp_path, easy, hard, left):
    words = ["--input", pool, "--output_dir", str(tmp_path / "out"), "--max_per_problem", "1"]
    words += ["--easy_pass_rate", write_rates(tmp_path / "easy.jsonl", *easy)] if easy else []
    words += ["--hard_pass_rate", hard] if hard else []
    assert main(words) == 0
    assert [row["uuid"] for row in rows_of(tmp_path / "out")] == left
    assert len(read_card(tmp_path / "out").parents) == (2 if easy else 1)


def test_pass_rates_and_verdicts_of_columns(tmp_path):
    rows = [
        {"problem": f"Problem {n}", "completion": completion(f"way {n}", 1), "rate": n / 10, "right": n != 3}
        for n in range(6)
    ]
    words = ["--input", write_rows(tmp_path / "rows.jsonl", rows), "--output_dir", str(tmp_path / "out")]
    words += ["--hard_pass_rate", "column:rate", "--hard_min", "0.2", "--hard_max", "2/5"]
    assert main([*words, "--correct_by", "column", "--correct_column", "right"]) == 0
    assert [row["input_row"] for row in rows_of(tmp_path / "out")] == [2, 4]


def test_rows_of_the_verifier_that_hang_do_not_stop_the_others(tmp_path):
    gold = r"\frac{x^3-1}{x-1}"
    hostile = [
        r"9**9**9**9",
        r"\int_0^1 e^{-x^2}\sin(x^3)\cos(x^5) dx",
        "(x+y+z+w+1)^{200}",
        "{" * 100_000,
        "+".join(rf"\sin({number}x)" for number in range(150)),
        "1" * 1_000_000,
    ]
    rows = [made_row(f"h{n}", f"Hostile {n}", gold, completion("hm", text)) for n, text in enumerate(hostile)]
    rows[3:3] = [made_row("good", "Good", gold, completion("divide", "x^2+x+1"))]
    words = ["--input", write_rows(tmp_path / "rows.jsonl", rows), "--output_dir", str(tmp_path / "out")]
    assert main(words) == 0
    assert [row["uuid"] for row in rows_of(tmp_path / "out")] == ["good"]


def test_conversations_get_the_system_prompt(tmp_path):
    turns = [{"role": "system", "content": "Old."}, {"role": "user", "content": "6 * 7?"}]
    rows = [{"messages": [*turns, {"role": "assistant", "content": completion("six sevens", 42)}], "answer": "42"}]
    words = ["--input", write_rows(tmp_path / "rows.jsonl", rows), "--output_dir", str(tmp_path / "out")]
    assert main([*words, "--system_prompt", "New."]) == 0
    assert [message["content"] for message in rows_of(tmp_path / "out")[0]["messages"]] == [
        "New.",
        "6 * 7?",
        completion("six sevens", 42),
    ]


def test_sampling_over_domains_is_even_and_repeatable(tmp_path):
    rows = [made_row(f"r{n}", f"Problem {n}", 1, completion("so " * n, 1)) for n in range(60)]
    rows = [row | {"topic": "rare" if n >= 50 else "common"} for n, row in enumerate(rows)]
    words = ["--input", write_rows(tmp_path / "rows.jsonl", rows), "--domain_column", "topic", "--sample_by", "domain"]
    words += ["--num_rows", "12", "--correct_by", "none", "--keep_columns", "topic", "uuid"]
    assert main([*words, "--output_dir", str(tmp_path / "a")]) == main([*words, "--output_dir", str(tmp_path / "b")])
    topics = [row["topic"] for row in rows_of(tmp_path / "a")]
    assert kept_in(tmp_path / "a") == kept_in(tmp_path / "b")
    assert len(topics) == 12
    assert 2 <= topics.count("rare") <= 10


def test_near_duplicates_of_completions_across_problems(tmp_path):
    reasoning = "We take the first number and the second number and multiply them one after the other until done"
    rows = [made_row(f"r{n}", f"Problem {n}", 1, completion(f"{reasoning} {'now' * n}", 1)) for n in range(3)]
    words = ["--input", write_rows(tmp_path / "rows.jsonl", rows), "--output_dir", str(tmp_path / "out")]
    assert main([*words, "--duplicates", "near_completions", "--completion_threshold", "0.7"]) == 0
    assert kept_in(tmp_path / "out") == [("r0", 0)]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_run(path, pool, tmp_path, capsys):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line.split(":")[0] for line in lines[:6]] == [
        f"# {word}" for word in ("Makes", "Hardware", "Hours", "Expect", "Command", "Source")
    ]
    assert lines[4].endswith(f"python scripts/curate.py --config {path.relative_to(ROOT)}")
    recipe = yaml.safe_load("\n".join(lines))
    assert set(recipe) <= {action.dest for action in build_parser()._actions}
    rates = write_rates(tmp_path / "easy.jsonl", 0.0, 0.0, 0.0, 0.0)
    words = ["--config", str(path), "--input", pool, "--problem_column", "problem"]
    words += ["--easy_pass_rate", rates] if "easy_pass_rate" in recipe else []
    words += ["--dataset_config", "default"] if "dataset_config" in recipe else []
    words += ["--domain_column", "uuid"] if "domain_column" in recipe else []
    assert main([*words, "--output_dir", str(tmp_path / "out")]) == 0
    assert 2 <= len({row["problem"] for row in rows_of(tmp_path / "out")}) <= 4


def test_killed_command_goes_on_without_judging_again(tmp_path):
    rows = [
        made_row(f"r{n}", f"Problem {n}", f"{n}.5", completion(f"way {n}", f"\\frac{{{2 * n + 1}}}{{2}}"))
        for n in range(4000)
    ]
    # Judging stops here for as long as the limit allows, so that the kill comes in the middle.
    rows[2000] = made_row(
        "hang", "Hang", r"\frac{x^3-1}{x-1}", completion("hm", "+".join(rf"\sin({number}x)" for number in range(150)))
    )
    words = ["--input", write_rows(tmp_path / "rows.jsonl", rows), "--output_dir", str(tmp_path / "out")]
    journal = tmp_path / "out" / "verdicts.jsonl"
    command = [sys.executable, str(ROOT / "scripts" / "curate.py"), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert killed.poll() is None, "ended before it was killed"
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "out" / "card.json").exists()
    before = journal.read_bytes()
    assert main(words) == 0
    whole = before[: before.rfind(b"\n") + 1]
    assert journal.read_bytes().startswith(whole)
    verdicts = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()[1:]]
    assert sorted(int(record["key"]) for record in verdicts) == list(range(4000))
    assert len(rows_of(tmp_path / "out")) >= 3999
