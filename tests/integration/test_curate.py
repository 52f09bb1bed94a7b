# SPDX-License-Identifier: Apache-2.0
"""scripts/curate.py from generations to rows that sft.py trains on, through kills, hangs and refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from open_r1.configs import SFTScriptArguments
from open_r1.curation.settings import CurateSettings
from open_r1.dataio.card import DataCard, Parent, read_card
from open_r1.dataio.folder import DatasetFolder
from open_r1.utils.data import get_dataset
from scripts.curate import main
from tests.integration.tiny import build_tiny

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").glob("**/curation/config_*.yaml"))
CHINESE = "\u6211\u4eec\u6765\u9a8c\u7b97\u4e00\u4e0b"


def completion(reasoning: str, answer: object) -> str:
    return f"<think>\n{reasoning}\n</think>\n\n\\boxed{{{answer}}}"


def made_row(name: str, problem: str, gold: object, *texts: str | None, reasons: list[str] | None = None) -> dict:
    reasons = reasons or ["error" if text is None else "stop" for text in texts]
    usage = [{"completion_tokens": None if text is None else len(text.split())} for text in texts]
    return {"uuid": name, "problem": problem, "answer": None if gold is None else str(gold),
            "generations": list(texts), "finish_reasons": reasons, "api_metadata": usage}  # fmt: skip


# What becomes of each row stands in its name; the numbers of the completions that are kept behind it.
CORPUS = [
    made_row("kept:1,2", "Find six times seven.", 42, completion("wrong way", 41), completion("six sevens", 42),
             completion("seven sixes", 42)),
    made_row("wrong", "Find six times eight.", 48, completion("hm", 47), completion("hm again", 46)),
    made_row("failed", "Find six times nine.", 54, None, None),
    made_row("truncated", "Find six times ten.", 60, completion("so", 60), reasons=["length"]),
    made_row("unclosed", "Find six times two.", 12, "<think>\nthis never ends \\boxed{12}"),
    made_row("kept:0", "Find three times two.", 6, completion("three twos", 6).removeprefix("<think>\n")),
    made_row("no_gold", "Prove that this is so.", None, completion("it is", 1)),
    made_row("mixed", "Find two times two.", 4, completion(f"two twos {CHINESE}", 4)),
    made_row("long", "Find four times two.", 8, completion("word " * 500, 8)),
    made_row("code", "Find five times two.", 10, completion("run it:\n```python\nprint(10)\n```\nso", 10)),
    made_row("kept:0", "Find nine times two.", 18, completion("nine twos", 18), completion("nine  twos", 18)),
    made_row("blank", " ", 1, completion("one", 1)),
    made_row("empty", "Find one times two.", 2),
    made_row("again", "find NINE times  two.", 18, completion("twice nine", 18)),
]  # fmt: skip
FILTERS = ["--readability", "no_words", "mixed_language", "long_paragraph", "code_block",
           "--duplicates", "exact_problems"]  # fmt: skip


def write_rows(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def rows_of(folder: Path) -> list[dict]:
    return [row for file in sorted((folder / "data").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def kept_in(folder: Path) -> list[tuple[str, int]]:
    return [(row["uuid"], row["generation_index"]) for row in rows_of(folder)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    """The corpus as generate_reasoning.py leaves it, with a card."""
    folder = tmp_path_factory.mktemp("corpus") / "generations"
    card = DataCard("generations", {}, [Parent("problems", licence="mit")], teacher={"model": "R1"},
                    sampling={"temperature": 0.6}, contamination={"flagged_rows": 0})  # fmt: skip
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
        "Find six times seven.", "42", 0, "right",
    )  # fmt: skip


def test_think_tag_of_the_prompt_is_put_back(curated):
    row = next(row for row in rows_of(curated) if row["problem"] == "Find three times two.")
    assert row["messages"][-1]["content"] == completion("three twos", 6)


def test_card_counts_every_step_and_names_the_teacher(curated):
    card = read_card(curated)
    steps = {step.name: step for step in card.steps}
    assert steps["rows"].detail == {"dropped: no_completions": 1, "dropped: no_problem": 1, "problems": 12}
    assert steps["whole"].detail == {
        "dropped: failed": 2, "dropped: open_reasoning": 1, "dropped: truncated": 1, "problems": 9,
    }  # fmt: skip
    assert steps["correct"].detail["dropped: wrong"] == 3
    assert steps["correct"].detail["dropped: unparsable_gold"] == 1
    assert {name: count for name, count in steps["readable"].detail.items() if "dropped" in name} == {
        "dropped: code_block": 1, "dropped: long_paragraph": 1, "dropped: mixed_language": 1,
    }  # fmt: skip
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
    assert main(["--input", corpus, "--output_dir", str(curated), *FILTERS, "--order", "longest"]) == 1
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


PROBLEMS = [f"Problem number {name} asks for something else entirely" for name in ("one", "two", "three", "four")]


def attempts(num_right: int, total: int = 32) -> list[str]:
    return [completion(f"way {n}", 42 if n < num_right else 41) for n in range(total)]


@pytest.fixture
def pool(tmp_path) -> str:
    """Four problems that the strong model solves 0, 1, 3 and 4 of 32 times."""
    rows = [made_row(f"p{n}", PROBLEMS[place], 42, *attempts(n)) for place, n in enumerate((0, 1, 3, 4))]
    return write_rows(tmp_path / "pool.jsonl", rows)


def easy_rates(path: Path, *rates: float | None, names: tuple[str, ...] = ("p4", "p3", "p1", "p0")) -> str:
    rows = [{"uuid": name, "pass_rate": rate} for name, rate in zip(names, rates, strict=True)]
    return write_rows(path, rows)


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
    words += ["--easy_pass_rate", easy_rates(tmp_path / "easy.jsonl", *easy)] if easy else []
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
    hostile = [r"9**9**9**9", r"\int_0^1 e^{-x^2}\sin(x^3)\cos(x^5) dx", "(x+y+z+w+1)^{200}", "{" * 100_000,
               "+".join(rf"\sin({number}x)" for number in range(150)), "1" * 1_000_000]  # fmt: skip
    rows = [made_row(f"h{n}", f"Hostile {n}", gold, completion("hm", text)) for n, text in enumerate(hostile)]
    rows[3:3] = [made_row("good", "Good", gold, completion("divide", "x^2+x+1"))]
    words = ["--input", write_rows(tmp_path / "rows.jsonl", rows), "--output_dir", str(tmp_path / "out")]
    assert main([*words, "--verifier_timeout_s", "0.5"]) == 0
    assert [row["uuid"] for row in rows_of(tmp_path / "out")] == ["good"]


def test_conversations_get_the_system_prompt(tmp_path):
    turns = [{"role": "system", "content": "Old."}, {"role": "user", "content": "6 * 7?"}]
    rows = [{"messages": [*turns, {"role": "assistant", "content": completion("six sevens", 42)}], "answer": "42"}]
    words = ["--input", write_rows(tmp_path / "rows.jsonl", rows), "--output_dir", str(tmp_path / "out")]
    assert main([*words, "--system_prompt", "New."]) == 0
    assert [message["content"] for message in rows_of(tmp_path / "out")[0]["messages"]] == [
        "New.", "6 * 7?", completion("six sevens", 42),
    ]  # fmt: skip


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
    assert main([*words, "--duplicates", "near_completions", "--completion_threshold", "0.8"]) == 0
    assert kept_in(tmp_path / "out") == [("r0", 0)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max_per_problem", "0"], "--max_per_problem must be at least 1"),
        (["--num_rows", "5"], "--sample_by and --num_rows go together"),
        (["--sample_by", "domain", "--num_rows", "5"], "needs --domain_column"),
        (["--correct_by", "column"], "--correct_column go together"),
        (["--correct_column", "right"], "--correct_column go together"),
        (["--hard_min", "1/2", "--hard_max", "1/4"], "no problem could be kept"),
        (["--hard_pass_rate", "column:rate"], r"no columns ['rate']"),
        (["--easy_pass_rate", "generations"], "another, smaller model"),
        (["--gold_column", "gold"], "--gold_column"),
        (["--language", "xx"], "The language 'xx' is not known"),
        (["--keep_columns", "nothing"], "--keep_columns"),
        (["--tokenizer", "nowhere"], "there is no file nowhere"),
        (["--easy_pass_rate", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_refusals(corpus, tmp_path, capsys, words, message):
    assert main(["--input", corpus, "--output_dir", str(tmp_path / "out"), *words]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "data").exists()


@pytest.mark.parametrize("words", [["--nothing", "1"], ["--order", "best"], ["--inp", "x"], []])
def test_unknown_flags_and_values_are_refused(corpus, words, capsys):
    with pytest.raises(SystemExit) as refused:
        main(["--input", corpus, *words])
    assert refused.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_pass_rates_of_other_problems_are_refused(pool, tmp_path, capsys):
    rates = easy_rates(tmp_path / "easy.jsonl", 0.0, 0.0, names=("x", "y"))
    words = ["--input", pool, "--output_dir", str(tmp_path / "out"), "--easy_pass_rate", rates]
    assert main(words) == 1
    assert "doesn't belong to this input" in capsys.readouterr().err
    part = easy_rates(tmp_path / "part.jsonl", 0.0, 0.0, names=("p1", "p3"))
    words[-1] = part
    assert main(words) == 1
    assert "--drop_without_pass_rate" in capsys.readouterr().err
    assert main([*words, "--drop-without-pass-rate", "--max-per-problem=1"]) == 0
    assert [row["uuid"] for row in rows_of(tmp_path / "out")] == ["p1", "p3"]


def test_tokens_that_nobody_counted_are_refused(tmp_path, capsys):
    rows = [{"problem": "6 * 7?", "answer": "42", "completion": completion("six sevens", 42)}]
    words = ["--input", write_rows(tmp_path / "rows.jsonl", rows), "--output_dir", str(tmp_path / "out")]
    words += ["--max_tokens", "25"]
    assert main(words) == 1
    assert "name a --tokenizer" in capsys.readouterr().err
    tiny = build_tiny(tmp_path / "tiny")  # a token a character or tag: 26
    assert main([*words, "--tokenizer", str(tiny.model)]) == 1
    assert "nothing is left" in capsys.readouterr().err
    assert main([*words[:-1], "100", "--tokenizer", str(tiny.model)]) == 0
    assert rows_of(tmp_path / "out")[0]["length"] == 26


@pytest.mark.parametrize("text", ["unknown: 1", "- a", "max_per_problem: {a: 1}", "overwrite: 3", "dry_run: [x]"])
def test_configs_that_are_not_flat_flags_are_refused(corpus, tmp_path, capsys, text):
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    assert main(["--config", str(tmp_path / "c.yaml"), "--input", corpus, "--dry_run"]) == 1
    assert "c.yaml" in capsys.readouterr().err


def test_flags_come_over_the_config(corpus, tmp_path, capsys):
    config = {"input": ["nowhere"], "dry_run": True, "max_per_problem": 2, "duplicates": ["exact_problems"]}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert main(["--config", str(tmp_path / "c.yaml"), "--input", corpus, "--max_per_problem", "1"]) == 0
    printed = capsys.readouterr().out
    assert "not_among_the_best 1" in printed
    assert "exact duplicates" in printed


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_run(path, pool, tmp_path, capsys):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line.split(":")[0] for line in lines[:6]] == [
        f"# {word}" for word in ("Makes", "Hardware", "Hours", "Expect", "Command", "Source")
    ]
    assert lines[4].endswith(f"python scripts/curate.py --config {path.relative_to(ROOT)}")
    recipe = yaml.safe_load("\n".join(lines))
    names = {"input", "output_dir"} | set(vars(CurateSettings(input=["x"])))
    assert set(recipe) <= names
    rates = easy_rates(tmp_path / "easy.jsonl", 0.0, 0.0, 0.0, 0.0)
    words = ["--config", str(path), "--input", pool, "--problem_column", "problem"]
    words += ["--easy_pass_rate", rates] if "easy_pass_rate" in recipe else []
    assert main([*words, "--output_dir", str(tmp_path / "out")]) == 0
    assert 2 <= len({row["problem"] for row in rows_of(tmp_path / "out")}) <= 4


def test_killed_command_goes_on_without_judging_again(tmp_path):
    rows = [made_row(f"r{n}", f"Problem {n}", f"{n}.5", completion(f"way {n}", f"\\frac{{{2 * n + 1}}}{{2}}"))
            for n in range(4000)]  # fmt: skip
    # Judging stops here for as long as the limit allows, so that the kill comes in the middle.
    rows[2000] = made_row("hang", "Hang", r"\frac{x^3-1}{x-1}",
                          completion("hm", "+".join(rf"\sin({number}x)" for number in range(150))))  # fmt: skip
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
    verdicts = [entry for line in journal.read_text(encoding="utf-8").splitlines()[1:] for entry in json.loads(line)]
    assert sorted(row for row, _, _ in verdicts) == list(range(4000))
    assert len(rows_of(tmp_path / "out")) >= 3999
