# SPDX-License-Identifier: Apache-2.0
"""What `scripts/test_time_compute.py` does: each method at each setting on the problems of a benchmark, and the curve.

    <output>/<model>/<revision>/<benchmark>-test-time/journal.jsonl, results.json, curve.png    (`results.py`)
                                                      asking.jsonl    engines, commits and notes of all runs

The journal binds what all settings share: model, data, template, sampling, seed. More settings, problems or repeats go
on in it, and pay for what is new alone; the points are of all settings that it has whole (`kept.py`).
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from open_r1.data.card import package_versions, source_commit
from open_r1.evaluation.benchmarks import Benchmark
from open_r1.evaluation.fingerprint import identify, identify_served, note_of_unknown
from open_r1.evaluation.judges import judge_of
from open_r1.evaluation.prompts import Problems, load_problems
from open_r1.evaluation.run import ANSWERS_NAME, RESULTS_NAME, SETTINGS_NAME, write_json
from open_r1.evaluation.settings import label_of
from open_r1.generation.journal import Journal, differing, free_name, read_settings
from open_r1.test_time.asking_log import note_servers, read_commits, read_servers
from open_r1.test_time.backends import Backend, engine_versions, open_backend
from open_r1.test_time.curves import curves_of, draw_curves, forcing_of
from open_r1.test_time.kept import Kept, kept_of
from open_r1.test_time.methods import Method, Problem, get_method
from open_r1.test_time.openai_backend import OpenAIBackend
from open_r1.test_time.progress import AttemptsBar
from open_r1.test_time.rendering import render_problems
from open_r1.test_time.results import Attempt, Point, Setting, attempt_key, points_of
from open_r1.test_time.scorers import fingerprint_of
from open_r1.test_time.settings import RunSettings
from open_r1.test_time.verdicts import Verdicts

logger = logging.getLogger(__name__)

JOURNAL_NAME, CURVE_NAME = "journal.jsonl", "curve.png"
# Seeds of repeats lie so far apart; a method's candidates have those in between.
SEEDS_APART = 100_000
FEW_PROBLEMS = 30


@dataclass(frozen=True)
class Report:
    """What a run has shown.

    Attributes:
        folder: Where it is.
        results: What is in `results.json`.
        points: The points of the curve.
    """

    folder: Path
    results: Mapping[str, Any]
    points: Sequence[Point]


def run(settings: RunSettings) -> Report:
    """Do what the journal doesn't have yet, and write the results.

    Raises:
        ValueError: Settings, data, model, servers, or what is in the output folder don't go together.
        BackendError: A completion didn't come.
        ServersDownError: No server answers any more.
        ScorerError: A scorer failed.
        JudgingError: The sandbox that runs programs is gone.
        JournalError: The journal is of other settings, in use, or on a disk that takes no more.
    """
    with ExitStack() as stack:
        asked = settings.evaluation
        problems = load_problems(
            settings.benchmark,
            template=asked.prompt_template,
            system_prompt=asked.system_prompt or None,
            limit=asked.limit,
            code=asked,
        )
        _check_votes(settings, problems.benchmark)
        if settings.backend.model is not None:
            _refuse_another_program(settings.folder_of(settings.backend.model.name))  # before it is loaded
        judge = judge_of(problems)
        verdicts = Verdicts(judge)
        options = replace(
            settings.options,
            judge=judge,
            has_answers=problems.has_votes,
            scorer_fingerprint=fingerprint_of(settings.options.scorer),
        )
        methods = [get_method(name, options) for name in settings.methods]  # a scorer may load a model
        plan = [(method, list(group)) for method in methods for group in method.groups()]
        backend = stack.enter_context(closing(open_backend(settings.backend)))
        for method in methods:
            method.check(backend)
        return _Run(settings, plan, problems, backend, verdicts).run()


def _check_votes(settings: RunSettings, benchmark: Benchmark) -> None:
    """Refuse votes on programs: no two of them are the same answer, so that a vote of N is one sample."""
    if benchmark.kind != "code":
        return
    votes = [name for name in settings.methods if name in ("majority", "weighted")]
    if votes:
        raise ValueError(
            f"{benchmark.name}: answers are programs, which can't vote: leave out {', '.join(votes)}; "
            "cot with --num_repeats, or best_of_n, can be asked."
        )
    if "vote" in settings.options.choices and {"beam_search", "dvts"} & set(settings.methods):
        raise ValueError(f"{benchmark.name}: answers are programs, which can't vote: set --choices max.")


def _refuse_another_program(folder: Path) -> None:
    """Refuse a folder of `run_benchmarks.py`: of a benchmark that is named as ours are here, or moved there."""
    try:
        results = json.loads((folder / RESULTS_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = []
    except ValueError:
        found = [RESULTS_NAME]
    else:
        found = [] if isinstance(results, dict) and "points" in results else [RESULTS_NAME]
    found += [name for name in (ANSWERS_NAME, SETTINGS_NAME) if (folder / name).exists()]
    if found:
        raise ValueError(
            f"{folder} has {', '.join(found)}, which test_time_compute.py hasn't written: name another "
            "--output_dir, or move that away."
        )


def _archive(folder: Path, shared: Mapping[str, Any], *, is_finished: bool) -> None:
    """Rename a folder whose journal is of other settings, or finished."""
    path = folder / JOURNAL_NAME
    begun = read_settings(path)
    if is_finished or (begun is not None and differing(begun, shared)):
        with Journal(path, None) if begun is not None else nullcontext():  # refuses where another process is at it
            if folder.exists():
                folder.rename(free := free_name(folder))
                logger.warning("%s is begun anew. What it held is in %s.", folder, free)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class _Run:
    def __init__(
        self,
        settings: RunSettings,
        plan: Sequence[tuple[Method, list[Setting]]],
        problems: Problems,
        backend: Backend,
        verdicts: Verdicts,
    ) -> None:
        self._settings, self._plan, self._problems, self._backend = settings, plan, problems, backend
        self._verdicts, self._commit = verdicts, source_commit()  # of the code that is loaded, whatever comes later
        room_tokens = max(method.room_tokens(backend) for method, _ in plan)
        self._asked = render_problems(problems, backend, settings.options.answer_reserve_tokens, room_tokens)
        self._model, identity = self._identified()
        self._is_unsure = not any(identity.values())
        self._notes_of_model = [note_of_unknown(self._model)] if self._is_unsure else []
        for note in self._notes_of_model:
            logger.warning("%s.", note)
        self._shared = self._of_all_settings(identity)
        self._engines = engine_versions(settings.backend)
        self._folder = settings.folder_of(self._model)
        _refuse_another_program(self._folder)
        self._keys = {problem.row: problems.cluster_of(problem.row) for problem in self._asked}
        self._num_repeated = len(self._asked) - len(set(self._keys.values()))

    def run(self) -> Report:
        """Solve what is left, and write down what there is."""
        path = self._folder / JOURNAL_NAME
        if self._settings.overwrite:
            is_finished = self._is_unsure or (self._folder / RESULTS_NAME).exists()
            _archive(self._folder, self._shared, is_finished=is_finished)
        stale: list[tuple[str, int]] = []

        def is_final(record: Mapping[str, Any]) -> bool:
            is_of_use = self._verdicts.counts(record)
            stale.extend([] if is_of_use else [(record["key"], record["index"])])
            return is_of_use

        with Journal(path, self._shared, is_final=is_final) as journal:
            left = list(self._left(journal))
            num_stale = len({name for name in stale if name not in journal})
            if num_stale:
                logger.warning(
                    "%d attempts were chosen by another verifier or sandbox, and their texts aren't kept: "
                    "they don't count, and are asked anew where this command names them.",
                    num_stale,
                )
            if left:
                note_servers(self._folder, self._engines, self._commit)
            total = sum(len(group) * len(problems) for _, group, problems, _ in left)
            with AttemptsBar(total, self._total() - total) as bar:
                for method, group, problems, repeat in left:
                    seed = self._settings.seed + repeat * SEEDS_APART
                    attempts = self._verdicts.judged(method.solve(problems, self._backend, group, seed))
                    new = [one for one in attempts if _name(one, repeat) not in journal]
                    journal.append(*(self._verdicts.record_of(one, repeat) for one in new))
                    bar.add(new)
            planned = [setting for _, group in self._plan for setting in group]
            rows = [problem.row for problem in self._asked]
            kept = kept_of(journal.records(), planned, rows, self._settings.repeats_of, self._verdicts.counts)
            return self._publish(kept, self._verdicts.attempts_of(kept.records, journal))

    def _identified(self) -> tuple[str, dict[str, str | None]]:
        model, revision = self._settings.backend.model, self._settings.evaluation.model_revision
        if model is not None:
            return model.name, identify(model.name, revision)
        assert isinstance(self._backend, OpenAIBackend)  # all others load a model that has a name
        served = self._backend.served
        return served.name, identify_served(served)

    def _of_all_settings(self, identity: dict[str, str | None]) -> dict[str, Any]:
        settings, options = self._settings, self._settings.options
        template = str(self._backend.tokenizer.chat_template)
        of_an_answer = settings.evaluation.of_an_answer(self._problems)
        return {
            **{name: value for name, value in of_an_answer.items() if name != "serve_args"},
            **identity,
            "model": self._model,
            "solution_column": self._problems.benchmark.solution_column,
            "chat_template": hashlib.sha256(template.encode()).hexdigest()[:16],
            "backend": settings.backend.chosen,
            "served_engine": self._served_engine(),
            "dtype": self._backend.dtype,
            "max_model_len": self._backend.max_model_len,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "max_tokens": options.max_tokens,
            "thinking_start": options.thinking_start,
            "thinking_end": options.thinking_end,
            "answer_reserve_tokens": options.answer_reserve_tokens,
            "seed": settings.seed,
        }

    def _served_engine(self) -> str | None:
        """What servers say that they are; None: the backend, which is in this process."""
        if not isinstance(self._backend, OpenAIBackend):
            return None
        return "+".join(self._backend.served.owners) or "unknown"

    def _total(self) -> int:
        return sum(len(group) * self._settings.repeats_of(method.name) for method, group in self._plan) * len(
            self._asked
        )

    def _left(self, journal: Journal) -> Iterator[tuple[Method, list[Setting], list[Problem], int]]:
        """Batches of problems with settings that they haven't all been solved at."""
        for method, group in self._plan:
            widest = max(int(setting.values.get("n") or 1) for setting in group)
            size = max(1, self._settings.backend.num_sequences // widest)
            for repeat in range(self._settings.repeats_of(method.name)):
                open_ = [
                    problem
                    for problem in self._asked
                    if any((attempt_key(setting, problem.row), repeat) not in journal for setting in group)
                ]
                for start in range(0, len(open_), size):
                    yield method, group, open_[start : start + size], repeat

    def _publish(self, kept: Kept, attempts: Sequence[Attempt]) -> Report:
        points = points_of(attempts, self._keys)
        methods = list(dict.fromkeys(point.setting.method for point in points))
        curves = curves_of(points)
        engines = read_servers(self._folder) or self._engines
        results = {
            "benchmark": self._problems.benchmark.name,
            "commit": self._commit,
            "commits": list(dict.fromkeys([*read_commits(self._folder), *filter(None, [self._commit])])),
            "points": [point.as_json() for point in points],
            "forcing": forcing_of(curves),
            "counts": {"problems": len(self._asked), "problems_repeated": self._num_repeated,
                       "attempts": len(attempts),
                       "rows_left_out": len(self._problems.skipped) + len(self._problems.by_row) - len(self._asked)},
            "notes": [*self._notes_of_run(engines), *kept.notes(), *_notes(points)],
            "settings": {**self._shared, **self._verdicts.settings, "methods": methods,
                         "temperature": {name: self._settings.temperature_of(name) for name in methods},
                         "num_repeats": self._settings.num_repeats, "limit": self._settings.evaluation.limit,
                         "engine_versions": engines,
                         "dataset": self._problems.benchmark.dataset, "servers": list(self._settings.backend.servers)},
        }  # fmt: skip
        write_json(self._folder / RESULTS_NAME, {**results, "date": _now(), "versions": package_versions()})
        model = self._settings.evaluation.model_name or label_of(self._model)
        draw_curves(curves, self._folder / CURVE_NAME, f"{model} on {self._problems.benchmark.name}")
        return Report(self._folder, results, points)

    def _notes_of_run(self, engines: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return what must be known of model, data and judge."""
        notes = [*self._notes_of_model, *self._problems.notes()]
        if len(engines) > 1:
            notes.append(
                "several engines, or versions of them, have answered (engine_versions), which needn't answer alike"
            )
        num_long = len(self._problems.by_row) - len(self._asked)
        if num_long:
            notes.append(
                f"{num_long} of {len(self._problems.by_row)} prompts are too long for the context of "
                f"{self._backend.max_model_len} tokens: all accuracies are of the other problems"
            )
        if self._num_repeated:
            notes.append(
                f"{self._num_repeated} of {len(self._asked)} rows ask what another row asks: each counts in "
                "the means, and the intervals are over different problems"
            )
        return notes


def _notes(points: Sequence[Point]) -> list[str]:
    """Return what must be known to read the points."""
    notes = [
        f"{point.setting.label}: {point.num_lost} of {point.num_attempts} attempts could not be judged: the accuracy "
        "is of the others"
        for point in points
        if point.num_lost
    ]
    if any(point.setting.is_upper_bound for point in points):
        notes.append("the oracle looks at the gold: its accuracies are upper bounds of what any scorer could do")
    fewest = min(point.num_problems for point in points)
    if fewest < FEW_PROBLEMS:
        notes.append(f"{fewest} problems are few: intervals are wide, and most differences are noise")
    return notes


def _name(attempt: Attempt, repeat: int) -> tuple[str, int]:
    return attempt_key(attempt.setting, attempt.problem_row), repeat
