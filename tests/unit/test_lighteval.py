# SPDX-License-Identifier: Apache-2.0
"""What goes to lighteval and what comes back, as far as it can be told without it (tests/serving has the rest)."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from open_r1.data.benchmarks import GPQA_WRONG, SUPPORTED_BENCHMARKS, local_benchmark
from open_r1.evaluation import scorer_comparison
from open_r1.evaluation.lighteval_engine import PROGRAMS_VARIABLE, may_score
from open_r1.evaluation.lighteval_environment import Done, Lighteval, environment_folder
from open_r1.evaluation.lighteval_scores import Answered, gold_of, in_its_words, note_of, score_answers
from open_r1.evaluation.lighteval_tasks import ask_instead, load_task, task_of
from open_r1.evaluation.problems import load_problems
from open_r1.evaluation.results import ANSWERS_NAME, write_results
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.generation.requests import Sampling

SETTINGS = EvaluationSettings("a/model", servers=["localhost:8000"], engine="lighteval")
AIME = SUPPORTED_BENCHMARKS["aime24"]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def sums(tmp_path):
    """Three problems under the name of a benchmark of the table."""
    rows = [{"problem": f"Compute\n{n}+{n}", "answer": str(2 * n)} for n in range(3)]
    problems = load_problems(replace(AIME, dataset=write_rows(tmp_path / "sums.jsonl", rows)), SETTINGS)
    yield problems
    problems.close()


def asked_by_lighteval(row, text, gold="2"):
    return {"id": str(row), "messages": [{"role": "user", "content": f"Solve this: {text}"}], "gold": gold}


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("aime24", "aime24|0"),
        ("aime25", "aime25|0"),
        ("math_500", "math_500|0"),
        ("gpqa", "gpqa:diamond|0"),
        ("lcb", "lcb:codegeneration|0"),
        ("lcb_v4", "lcb:codegeneration_v4|0"),
    ],
)
def test_tasks_are_spelt_as_lighteval_0_13_wants_them(name, task):
    assert task_of(SUPPORTED_BENCHMARKS[name]) == task


def test_prompts_of_lighteval_take_the_place_of_ours(sums):
    ask_instead(sums, [asked_by_lighteval(row, f"Compute {row}+{row}") for row in (2, 0, 1, 7)])
    requests = list(sums.requests(2))
    assert [(request.messages[0]["content"], request.index) for request in requests[:3]] == [
        ("Solve this: Compute 0+0", 0),
        ("Solve this: Compute 0+0", 1),
        ("Solve this: Compute 1+1", 0),
    ]
    assert len(requests) == 6
    assert sums.golds == {0: "0", 1: "2", 2: "4"}  # a number is what it was


def test_other_prompts_are_another_run(sums, tmp_path):
    ask_instead(sums, [asked_by_lighteval(row, f"Compute {row}+{row}") for row in range(3)])
    first = dict(sums.decided)
    assert first["template"] is None
    assert first["lighteval_task"] == "aime24|0"
    ask_instead(sums, [asked_by_lighteval(row, f"Compute {row}+{row}. Be brief.") for row in range(3)])
    assert sums.decided["lighteval_prompts"] != first["lighteval_prompts"]


@pytest.mark.parametrize("texts", [["Compute 0+0", "Compute 2+2", "Compute 1+1"], ["Compute 0+0", "Compute 1+1"]])
def test_problems_that_lighteval_has_otherwise_are_refused(sums, texts):
    with pytest.raises(ValueError, match=r"Row [12] of .* isn't problem [12] of lighteval's task aime24\|0"):
        ask_instead(sums, [asked_by_lighteval(row, text) for row, text in enumerate(texts)])


def test_letters_of_choices_are_those_of_lighteval(tmp_path):
    rows = [
        {
            "Question": f"{n}?",
            "Correct Answer": f"right {n}",
            **dict.fromkeys(GPQA_WRONG[:1], "x"),
            GPQA_WRONG[1]: "y",
            GPQA_WRONG[2]: "z",
        }
        for n in range(4)
    ]
    benchmark = replace(SUPPORTED_BENCHMARKS["gpqa"], dataset=write_rows(tmp_path / "gpqa.jsonl", rows), config=None)
    problems = load_problems(benchmark, SETTINGS)
    try:
        ask_instead(problems, [asked_by_lighteval(row, f"{row}?", gold) for row, gold in enumerate("DBAC")])
        assert problems.golds == {0: "D", 1: "B", 2: "A", 3: "C"}
    finally:
        problems.close()


def test_rows_that_cannot_be_asked_are_left_out_of_lightevals_too(tmp_path):
    rows = [
        {"problem": "Compute 0+0", "answer": "0"},
        {"problem": None, "answer": "2"},
        {"problem": "Compute 2+2", "answer": "4"},
    ]
    problems = load_problems(replace(AIME, dataset=write_rows(tmp_path / "holes.jsonl", rows)), SETTINGS)
    try:
        ask_instead(problems, [asked_by_lighteval(row, f"Compute {row}+{row}") for row in range(3)])
        asked = [request.messages[0]["content"] for request in problems.requests(1)]
        assert asked == ["Solve this: Compute 0+0", "Solve this: Compute 2+2"]
        assert list(problems.golds) == [0, 2]
    finally:
        problems.close()


def test_a_template_has_no_effect_on_lightevals_prompts_and_is_refused():
    with pytest.raises(ValueError, match="lighteval's own prompt, so a prompt template has no effect"):
        load_task(AIME, replace(SETTINGS, template="Solve: {prompt}"), Lighteval())


def test_a_benchmark_without_a_task_is_refused():
    with pytest.raises(ValueError, match="lighteval has no task for the benchmark aime24"):
        load_task(replace(AIME, lighteval=""), SETTINGS, Lighteval())


def test_programs_of_local_rows_are_refused(tmp_path):
    tests = {"language": "python", "test_cases": [{"input": "1", "output": "2", "type": "stdin_stdout"}]}
    path = tmp_path / "programs.jsonl"
    write_rows(path, [{"problem": "Add one.", "verification_info": tests}])
    with pytest.raises(ValueError, match="lighteval has no metric beyond LiveCodeBench"):
        load_task(local_benchmark(path), SETTINGS, Lighteval())


@pytest.mark.parametrize(
    ("gold", "sent"),
    [
        ("3, 5", "$3, 5$"),
        (r"50\%", r"$50\%$"),
        (r"\frac{1}{2}", r"$\frac{1}{2}$"),
        ("$42$", "$42$"),
        (r"So it is \boxed{7}.", r"So it is \boxed{7}."),
        ("She has 3.\n#### 3", "She has 3.\n#### 3"),
    ],
)
def test_bare_golds_go_to_lighteval_as_mathematics(gold, sent):
    assert gold_of(gold) == sent


@pytest.mark.parametrize(
    ("entry", "note"),
    [
        ({"score": 1.0, "extracted": ["1/2", "\\frac{1}{2}"]}, r"finds '1/2', '\\frac{1}{2}'"),
        ({"score": 0.0, "extracted": []}, "finds no answer"),
        ({"score": 0.0, "extracted": [], "error": "RecursionError: deep"}, "fails (RecursionError: deep)"),
    ],
)
def test_what_lighteval_found_is_said_in_words(entry, note):
    assert note_of(entry) == note


def test_sampling_is_told_in_lightevals_words():
    sampling = Sampling(temperature=0.6, top_p=0.95, top_k=-1, max_tokens=32768, seed=3)
    assert in_its_words(sampling) == {"temperature": 0.6, "top_p": 0.95, "max_new_tokens": 32768, "seed": 3}


class Pipeline(Lighteval):
    """lighteval's pipeline as far as files show it: the score of an answer is the number of its problem."""

    def __init__(self):
        super().__init__()
        self.questions, self.job = [], {}

    def run(self, mode, job, log_path=None):
        self.job = job
        self.questions = [json.loads(line) for line in Path(job["questions"]).read_text("utf-8").splitlines()]
        lines = [
            {"id": question["id"], "answers": [{"score": float(question["id"])} for _ in question["texts"]]}
            for question in reversed(self.questions)
        ]
        return Done(lines, {"versions": {}, "left_out": {}, "metrics": {"m": 1.0}})


@pytest.mark.parametrize(("is_local", "ids"), [(True, ["0", "1"]), (False, ["0", "2"])])
def test_scores_come_back_to_their_rows_where_one_is_left_out(tmp_path, is_local, ids):
    # A task of lighteval's has the rows that we leave out too; of a local file it gets those that are asked.
    benchmark = local_benchmark(tmp_path / "rows.jsonl", kind="math") if is_local else AIME
    pipeline = Pipeline()
    answered = [Answered(row, [{"role": "user", "content": "?"}], "1", {0: "1", 1: "2"}) for row in (0, 2)]
    scores = score_answers(
        pipeline,
        benchmark,
        answered,
        model="m",
        sampling={},
        system_prompt=None,
        folder=tmp_path,
        log_path=tmp_path / "log",
    )
    assert [question["id"] for question in pipeline.questions] == ids
    assert {place: scored.score for place, scored in scores.found.items()} == {
        (row, index): float(name) for row, name in zip((0, 2), ids, strict=True) for index in (0, 1)
    }


def test_files_of_a_comparison_are_not_written_into_the_folder_of_the_model(tmp_path, monkeypatch):
    pipeline, folder = Pipeline(), tmp_path / "run"
    monkeypatch.setattr(scorer_comparison, "Lighteval", lambda: pipeline)
    folder.mkdir()
    settings = {"kind": "math", "model": str(tmp_path / "models" / "mine"), "temperature": 0.6}
    write_results(folder, {"benchmark": "sums", "settings": settings, "counts": {}, "metrics": {}})
    answer = {
        "row": 1,
        "index": 0,
        "problem": "1+0",
        "solution": "1",
        "answer": "1",
        "verdict": "right",
        "finish_reason": "stop",
        "num_tokens": 1,
        "error": None,
    }
    pq.write_table(pa.Table.from_pylist([answer]), folder / ANSWERS_NAME)
    assert scorer_comparison.compare_scorers(folder, tmp_path / "out").total == 1
    assert pipeline.job["model"] == "mine"


@pytest.mark.parametrize(
    ("kind", "value", "may"),
    [
        ("code", None, False),
        ("code", "0", False),
        ("code", "true", False),
        ("code", "", False),
        ("code", "1", True),
        ("math", None, True),
        ("choices", "0", True),
    ],
)
def test_lighteval_runs_no_programs_unless_it_is_told_to(sums, kind, value, may, monkeypatch):
    monkeypatch.delenv(PROGRAMS_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(PROGRAMS_VARIABLE, value)
    sums.benchmark = replace(sums.benchmark, kind=kind)
    assert may_score(sums) is may


def test_the_environment_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("OPEN_R1_LIGHTEVAL_VENV", str(tmp_path / "env"))
    assert environment_folder() == tmp_path / "env"
    monkeypatch.setenv("OPEN_R1_LIGHTEVAL_VENV", "")
    assert environment_folder().name == ".venv-lighteval"
