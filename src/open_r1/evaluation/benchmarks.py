# SPDX-License-Identifier: Apache-2.0
"""Running benchmarks on a model behind an OpenAI-compatible server: what `scripts/run_benchmarks.py` does.

    <output>/<model>/<revision>/<benchmark>/answers.parquet    every answer with its verdict, at the end
                                            results.json       metrics and all settings; the run is done when it is
    <output>/<model>/<revision>/vllm.log                       what a server of our own has written

`direct.py` asks, and keeps each answer beside these files.

1. The verifier is the one that rewards use, and every setting stands beside the figures.
2. Nothing is deleted: results of other settings are refused, or put aside under a new name. Of the same settings, more
   answers a problem, or more problems, take the place of fewer; fewer are refused where there are more.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_r1.data.benchmarks import Benchmark
from open_r1.data.card import source_commit
from open_r1.data.folder import refuse_file
from open_r1.evaluation.asking_log import read_commits, read_servers
from open_r1.evaluation.defaults import DEFAULT_MAX_TOKENS
from open_r1.evaluation.direct import Asked, Question, ask, put_journal_aside
from open_r1.evaluation.identity import (
    Identity,
    check_is_there,
    fingerprint_prompt,
    fingerprint_template,
    identify,
)
from open_r1.evaluation.judging import Judge, RecordOf, judge_of, judged_answers
from open_r1.evaluation.model_names import check_model_name
from open_r1.evaluation.problems import Problems, load_problems
from open_r1.evaluation.results import (
    AnswersFile,
    Described,
    check_writable,
    finished_results,
    is_fewer,
    read_results,
    refuse_other_settings,
)
from open_r1.evaluation.serving import Serving, Weights, describe_servers, engine_of, serving
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.evaluation.tally import Tally
from open_r1.generation.client import Client, ServedModel
from open_r1.generation.driver import Outcome, run

logger = logging.getLogger(__name__)


class NoAnswersError(RuntimeError):
    """All requests failed, or no answer could be judged: there is nothing to report."""


@dataclass(frozen=True)
class Report:
    """How the run on one benchmark ended.

    Attributes:
        benchmark: Its name.
        folder: Where its results are.
        results: What is in `results.json`; None: a signal ended it early.
        was_done: Whether an earlier run had finished it.
        outcome: What was asked for; None: nothing was left to ask.
    """

    benchmark: str
    folder: Path
    results: dict[str, Any] | None
    was_done: bool = False
    outcome: Outcome | None = None


def run_benchmarks(benchmarks: Sequence[Benchmark], settings: EvaluationSettings) -> Iterator[Report]:
    """Run benchmarks one after the other, and yield what came of each; ends after one that a signal has ended.

    All data sets are read before a server starts, and none starts for benchmarks that are finished.

    Raises:
        ValueError: Settings, data, servers, or what is in the output folder don't go together.
        FileNotFoundError: vLLM is asked for, and there is none.
        ServersDownError: A server doesn't start or answer any more, or requests fail one after the other.
        NoAnswersError: No answer came that could be judged.
        JudgingError: The sandbox that runs programs is gone.
    """
    left: list[tuple[Problems, dict[str, Any]]] = []
    commit = source_commit()  # of the code that is loaded, whatever comes later
    refuse_file(settings.output_dir)
    identity = _identify(settings)
    with ExitStack() as stack:
        for benchmark in benchmarks:
            problems = load_problems(benchmark, settings)
            stack.callback(problems.close)
            problems.judged_by = judge_of(problems).check()
            known = settings.of_an_answer(problems.benchmark, problems.source.parent().identity())
            known |= {**_of_the_results(problems, settings), **identity.as_settings()}
            known |= {"model": settings.model, "served_engine": engine_of(settings)}
            report = _finished_before(problems, settings, known)
            if report is not None:
                yield report
            else:
                left.append((problems, known))
        if not left:
            return
        if not settings.servers:
            check_writable(settings.output_dir)  # before a model loads
        served = stack.enter_context(serving(settings, identity))
        model = Weights(settings, identity)
        for problems, known in left:
            report = _Run(problems, settings, served, known, model, commit).run()
            yield report
            if report.results is None:
                return


def _identify(settings: EvaluationSettings) -> Identity:
    if settings.commit is not None:
        return Identity(settings.commit)
    if settings.model is not None and not settings.servers:
        check_model_name(settings.model)
        check_is_there(settings.model, settings.revision)
    identity = identify(settings.model, settings.revision)
    if settings.servers and identity.commit not in (None, settings.revision):
        logger.warning(
            "The hub's commit of %s is %s now. Servers that have loaded an earlier one give figures of "
            "that: name it by --model_commit.",
            settings.model,
            identity.commit,
        )
    return identity


def _finished_before(problems: Problems, settings: EvaluationSettings, known: Mapping[str, Any]) -> Report | None:
    """Return what an earlier run with a server of its own has finished: one isn't started to find that out.

    The same model and arguments give the same context. Other servers are asked for theirs.
    """
    if settings.model is None or settings.servers:
        return None
    folder = settings.folder_of(settings.model, problems.benchmark)
    before = (read_results(folder) or {"settings": {}})["settings"]
    of_the_sampling = settings.of_the_sampling(known["served_engine"], None)
    if settings.sampling.max_tokens is None:
        of_the_server = {key: before.get(key) for key in ("max_tokens", "context_tokens")}
        if of_the_server["max_tokens"] not in (None, DEFAULT_MAX_TOKENS):
            return None
        of_the_sampling |= of_the_server
    found = finished_results(folder, {**known, **of_the_sampling})
    if found is not None and _counts(found, settings):
        return Report(problems.benchmark.name, folder, found, was_done=True)
    if not settings.overwrite:
        # What the context of the server, or the judge alone, decides isn't compared: nor would the answers' journal.
        apart = {"max_tokens", "context_tokens"} if settings.sampling.max_tokens is None else set()
        apart |= _of_the_results(problems, settings).keys()
        refuse_other_settings(folder, {k: v for k, v in {**known, **of_the_sampling}.items() if k not in apart})
    is_fewer(folder, problems, settings)
    return None


def _counts(found: Mapping[str, Any], settings: EvaluationSettings) -> bool:
    """Whether finished results stand: with `overwrite`, only those of a run of the same name do."""
    return not settings.overwrite or (settings.run_id is not None and found.get("run_id") == settings.run_id)


def _of_the_results(problems: Problems, settings: EvaluationSettings) -> dict[str, Any]:
    """What the results depend on beside the answers."""
    limits = {"test_timeout_s": problems.limits.cpu_s, "test_memory_mb": problems.limits.memory_mb}
    return {
        "num_samples": settings.samples_of(problems.benchmark),
        "solution_column": problems.benchmark.solution_column,
        "limit": settings.limit,
        **(limits if problems.benchmark.kind == "code" else {}),
        **problems.judged_by,
    }


class _Run:
    def __init__(
        self,
        problems: Problems,
        settings: EvaluationSettings,
        serving: Serving,
        known: Mapping[str, Any],
        model: Weights,
        commit: str | None,
    ) -> None:
        self._problems, self._settings, self._serving = problems, settings, serving
        self._model, self._commit, self._known = model, commit, dict(known)

    def run(self) -> Report:
        """Ask, judge, write."""
        name = self._problems.benchmark.name
        here = self._serving.here
        served = run(self._find()) if here is None else here.served()
        self._model.check(served)
        model = self._settings.model or served.name
        identity = self._model.identify(served)
        by = engine_of(self._settings, served)
        of_the_sampling = self._settings.of_the_sampling(by, served.max_model_len)
        self._known |= {"model": model, **identity.as_settings(), **of_the_sampling, "served_engine": by}
        folder = self._settings.folder_of(model, self._problems.benchmark)
        found = finished_results(folder, self._known)
        if found is not None and _counts(found, self._settings):
            return Report(name, folder, found, was_done=True)
        check_writable(self._settings.output_dir)
        question = self._question(served, folder)
        if not self._settings.overwrite:
            refuse_other_settings(folder, question.asked)
        has_more = is_fewer(folder, self._problems, self._settings)
        if self._settings.overwrite:
            is_unsure = not identity.is_known and self._settings.run_id is None
            put_journal_aside(folder, question.asked, is_finished=found is not None or has_more or is_unsure)
        with ask(question) as asked:
            results = None if asked.record_of is None else self._publish(question, asked, asked.record_of)
        return Report(name, folder, results, outcome=asked.outcome)

    def _question(self, served: ServedModel, folder: Path) -> Question:
        results_alone, serving = _of_the_results(self._problems, self._settings), self._serving
        return Question(
            problems=self._problems,
            settings=self._settings,
            served=served,
            addresses=serving.addresses,
            here=serving.here,
            sampling=self._settings.sampling_by(self._known["served_engine"], served.max_model_len),
            num_samples=self._known["num_samples"],
            folder=folder,
            asked={key: value for key, value in self._known.items() if key not in results_alone},
            served_by=(
                describe_servers(serving.addresses, self._settings.api_key)
                if serving.here is None
                else [serving.here.describe()]
            ),
            commit=self._commit,
        )

    async def _find(self) -> ServedModel:
        settings = self._settings
        client = Client(
            self._serving.addresses,
            model=settings.served_model,
            api_key=settings.api_key,
            patience=settings.patience,
        )
        async with client:
            return await client.find_model(wait_s=settings.wait_s, max_tokens=settings.sampling.max_tokens)

    def _publish(self, question: Question, asked: Asked, record_of: RecordOf) -> dict[str, Any]:
        tally, folder = Tally(self._problems), question.folder
        with AnswersFile(folder, self._problems) as file:
            judge = judge_of(self._problems, folder)
            for batch in judged_answers(self._problems, record_of, question.num_samples, judge):
                for of_a_problem in batch:
                    tally.add(of_a_problem)
                file.write([answer for of_a_problem in batch for answer in of_a_problem])
            return file.finish(self._results(question, asked, tally, judge))

    def _results(self, question: Question, asked: Asked, tally: Tally, judge: Judge) -> dict[str, Any]:
        counts, described = self._counted(tally, question.total), self._described(question)
        notes = [] if described.chat_template_hash else ["nothing here tells which chat template the servers apply"]
        if len(described.served_by) > 1:
            notes.append("several kinds of servers have answered (served_by), which needn't answer alike")
        return {
            "benchmark": self._problems.benchmark.name,
            "is_complete": not counts["failed"] and not counts["lost"],
            "notes": [*self._problems.notes(), *tally.notes(question.total), *judge.notes(), *notes],
            "run_id": self._settings.run_id,
            "errors": tally.errors(),
            "metrics": tally.metrics(),
            "speed": None if asked.speed is None else {**vars(asked.speed), "tokens_per_s": asked.speed.tokens_per_s},
            "counts": {
                **counts,
                "rows_left_out": len(self._problems.skipped),
            },
            "settings": {**self._known, **vars(described)},
            "commit": self._commit,
            "commits": list(dict.fromkeys([*read_commits(question.folder), *filter(None, [self._commit])])),
        }

    def _counted(self, tally: Tally, total: int) -> dict[str, Any]:
        """Return the counts; raise where there is nothing to report."""
        name = self._problems.benchmark.name
        if not tally.num_returned:
            raise NoAnswersError(
                f"{name}: all {tally.num_failed} requests failed, the last with: {tally.last_error}. The same command "
                "asks again."
            )
        counts = tally.counts(total)
        if not counts["problems_judged"]:
            raise NoAnswersError(f"{name}: no answer could be judged: {counts['verdicts']}.")
        return counts

    def _described(self, question: Question) -> Described:
        settings, benchmark, served = self._settings, self._problems.benchmark, question.served
        return Described(
            dataset=benchmark.dataset,
            config=benchmark.config,
            split=benchmark.split,
            served_as=served.name,
            max_model_len=served.max_model_len,
            servers=settings.servers,
            served_with=settings.served_with,
            served_by=read_servers(question.folder) or question.served_by,
            chat_template_hash=self._chat_template(served),
            prompt_hash=fingerprint_prompt(self._known["template"], settings.system_prompt),
        )

    def _chat_template(self, served: ServedModel) -> str | None:
        settings = self._settings
        model = settings.model or next((root for root in served.roots if Path(root).is_dir()), served.name)
        return fingerprint_template(
            model, self._known["model_commit"] or settings.revision, [*settings.serve_args, *settings.served_with]
        )
