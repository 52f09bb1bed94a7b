# SPDX-License-Identifier: Apache-2.0
"""Runs of benchmarks on a model: load, ask, judge, write; what `scripts/run_benchmarks.py` does.

    <output>/<model>/<revision>/<benchmark>/settings.json      what the answers depend on; who answered, of each run
                                            journal.jsonl      every answer; after kill -9 the same command resumes
                                            verdicts.jsonl     verdicts that are costly, of programs and rewards
                                            answers.parquet    every answer with its verdict and score
                                            results.json       metrics, counts, notes and all settings; written last
    <output>/<model>/<revision>/vllm.log                       output of `vllm serve`

    {"benchmark": "aime24", "metrics": {"avg@64": 0.31, "avg@64_low": 0.22, "avg@64_high": 0.41, "pass@2": ...},
     "counts": {"problems": 30, "requested": 1920, "returned": 1920, ...}, "is_complete": true, "notes": [],
     "errors": {"HTTP 400: ...": 3}, "speed": {...}, "settings": {...}, "date": ..., "versions": {...}, "commit": ...,
     "answers": {"rows": 1920, "bytes": 81920}}

1. A folder of other settings is refused, with the setting and both values; --overwrite archives it as `<benchmark>.1`.
2. More or fewer answers a problem, other limits and another judge go on in the journal: what is there isn't asked
   again, and all verdicts are those of the judge that `settings` names.
"""

import json
import logging
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from open_r1.data.card import package_versions, plain_json, source_commit
from open_r1.evaluation.benchmarks import Benchmark
from open_r1.evaluation.fingerprint import identify, identify_served, note_of_unknown
from open_r1.evaluation.judges import Answer, RepliesOf, judge_of, judged_answers
from open_r1.evaluation.metrics import Metrics
from open_r1.evaluation.prompts import Problems, load_problems
from open_r1.evaluation.settings import DEFAULT_MAX_TOKENS, EvaluationArguments
from open_r1.generation import driver
from open_r1.generation.client import Client, ServedModel, refuse_another
from open_r1.generation.journal import Journal, differing, free_name
from open_r1.generation.messages import ServersDownError
from open_r1.generation.servers import VllmServer, find_vllm

if TYPE_CHECKING:
    from open_r1.generation.transformers_here import TransformersHere

logger = logging.getLogger(__name__)

SETTINGS_NAME, JOURNAL_NAME = "settings.json", "journal.jsonl"
ANSWERS_NAME, RESULTS_NAME = "answers.parquet", "results.json"
_PARTS = ("settings", "counts", "metrics")
_BATCH_ROWS = 1024
_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("index", pa.int64()),
        ("problem", pa.large_string()),
        ("context", pa.string()),
        ("solution", pa.large_string()),
        ("answer", pa.large_string()),
        ("verdict", pa.string()),
        ("score", pa.float64()),
        ("finish_reason", pa.string()),
        ("num_tokens", pa.int64()),
        ("error", pa.string()),
        ("extracted", pa.large_string()),
    ]
)


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
    outcome: driver.Outcome | None = None


@dataclass
class _Server:
    """Who answers: servers, or a model of this process."""

    addresses: Sequence[str] = ()
    here: "TransformersHere | None" = None
    served: ServedModel | None = None

    def client(self, args: EvaluationArguments) -> Any:
        """Return what answers requests, within `async with`."""
        if self.here is not None:
            return nullcontext(self.here)
        model = args.served_model if self.served is None else self.served.name
        return Client(self.addresses, model=model, api_key=args.api_key, patience=args.patience_of_client)


def run_benchmarks(
    benchmarks: Sequence[Benchmark], args: EvaluationArguments, *, suffix: str = ""
) -> Iterator[Report]:
    """Run benchmarks on one model, and yield what came of each; ends after one that a signal has ended.

    All data sets are read before a server starts, and none starts for benchmarks that are finished.

    Args:
        benchmarks: What to ask.
        args: With one model at most, and one seed.
        suffix: Of the folders' names, which tell several seeds apart.

    Raises:
        ValueError: Settings, data, servers, or what is in the output folder don't go together.
        FileNotFoundError: vLLM is asked for, and there is none.
        ServersDownError: No server answers or starts, or requests fail one after the other.
        NoAnswersError: No answer came that could be judged.
        JudgingError: The sandbox that runs programs is gone.
    """
    model = next(iter(args.model_id), None)
    loads_here = model is not None and not args.url
    if args.model_commit is not None:
        identity = {"model_commit": args.model_commit, "model_fingerprint": None}
    else:
        identity = identify(model, args.model_revision, is_loaded=loads_here and not args.judge_again)
    with ExitStack() as stack:
        runs = [_Run(_load(entry, args), args, model, identity, suffix) for entry in benchmarks]
        if loads_here:
            for run in runs:
                run.known["served_engine"] = engine_of(args)
                run.bind(None)
        left = [run for run in runs if not run.is_done()]
        yield from (run.report(was_done=True) for run in runs if run not in left)
        if not left:
            return
        Path(args.output_dir).mkdir(parents=True, exist_ok=True)
        server = _Server() if args.judge_again else stack.enter_context(serving(args, model, identity))
        for run in left:
            run.bind(server.served)
            report = run.report(was_done=True) if run.is_done() else run.run(server)
            yield report
            if report.results is None:
                return


def _load(benchmark: Benchmark, args: EvaluationArguments) -> Problems:
    return load_problems(
        benchmark,
        template=args.prompt_template,
        system_prompt=args.system_prompt or None,
        limit=args.limit,
        judge=args.judge,
        code=args,
    )


@dataclass(eq=False)
class _Run:
    """The run on one benchmark.

    Attributes:
        known: What the answers depend on, as far as it is known.
        folder: Of its results; None: the server has to tell the model first.
    """

    problems: Problems
    args: EvaluationArguments
    model: str | None
    identity: dict[str, str | None]
    suffix: str = ""
    known: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def __post_init__(self) -> None:
        self.judged_by = judge_of(self.problems).check()
        self.num_samples = self.args.samples_of(self.problems.benchmark)
        self.known = self.args.of_an_answer(self.problems)

    def bind(self, served: ServedModel | None) -> None:
        """Take what the server tells, and refuse a folder of other settings, or archive it.

        Raises:
            ValueError: The folder has answers of other settings.
        """
        args, engine = self.args, self.known.get("served_engine")
        if served is not None:
            engine = engine or "+".join(served.owners) or "unknown"
            if self.model is None:
                self.model, self.identity = served.name, identify_served(served)
        sampling = args.of_the_sampling(engine, None if served is None else served.max_model_len)
        # What the context of a server decides isn't known before it has started.
        unknown = {"max_tokens", "context_tokens"} if served is None and args.max_tokens is None else set()
        self.known |= {name: value for name, value in sampling.items() if name not in unknown}
        self.known |= {} if engine is None else {"served_engine": engine}
        if self.model is None:
            raise ValueError("--judge_again needs --model_id, or the server of --url, to find the folder.")
        self.known |= {"model": self.model, **self.identity}
        self.folder = args.folder(self.model) / f"{self.problems.benchmark.name}{self.suffix}"
        before = read_json(self.folder / SETTINGS_NAME)
        if not before:
            return
        if args.overwrite and (args.run_id is None or before.get("run_id") != args.run_id):
            archive(self.folder)
            return
        common = self.known.keys() & before["settings"].keys()
        changed = differing({k: before["settings"][k] for k in common}, {k: self.known[k] for k in common})
        if changed:
            raise ValueError(
                f"{self.folder} has answers of other settings: {'; '.join(changed)}. Name another --output_dir, or "
                "archive that folder by --overwrite."
            )

    def is_done(self) -> bool:
        """Whether an earlier run has finished the same."""
        if self.folder is None or self.args.judge_again:
            return False
        found = read_results(self.folder)
        if found is None or not found["is_complete"] or not answers_fit(self.folder, found):
            return False
        wanted = {**self.known, **self._of_the_results()}
        if "max_tokens" not in wanted and found["settings"].get("max_tokens") not in (None, DEFAULT_MAX_TOKENS):
            return False
        return not differing({name: found["settings"].get(name) for name in wanted}, wanted)

    def _of_the_results(self) -> dict[str, Any]:
        column = self.problems.benchmark.solution_column
        results = {"num_samples": self.num_samples, "solution_column": column, "limit": self.args.limit}
        return {**results, **self.judged_by}

    def report(self, *, was_done: bool = False, outcome: driver.Outcome | None = None) -> Report:
        """Return what is in the folder."""
        assert self.folder is not None
        return Report(self.problems.benchmark.name, self.folder, read_results(self.folder), was_done, outcome)

    def run(self, server: _Server) -> Report:
        """Ask, judge, write."""
        assert self.folder is not None and self.model is not None
        if not any(self.identity.values()):
            logger.warning("%s.", note_of_unknown(self.model))
        self.folder.mkdir(parents=True, exist_ok=True)
        if server.served is None:
            self.known = read_json(self.folder / SETTINGS_NAME).get("settings") or self.known
        with Journal(
            self.folder / JOURNAL_NAME, self.known, is_final=lambda record: record["text"] is not None
        ) as journal:
            outcome = None
            requests = self.problems.requests(self.num_samples, self._sampling(server.served))
            if server.served is not None and any((one.key, one.index) not in journal for one in requests):
                outcome = self._ask(server, journal)
                if outcome.stopped_by is not None:
                    return Report(self.problems.benchmark.name, self.folder, None, outcome=outcome)
            self._publish(lambda row, index: journal[self.problems.by_row[row].key, index])
        return self.report(outcome=outcome)

    def _sampling(self, served: ServedModel | None) -> Any:
        return self.args.sampling(self.known.get("served_engine"), None if served is None else served.max_model_len)

    def _ask(self, server: _Server, journal: Journal) -> driver.Outcome:
        assert self.folder is not None and server.served is not None
        total, started = len(self.problems.by_row) * self.num_samples, time.perf_counter()
        served_by = {"engine": self.known["served_engine"]} if server.here is None else server.here.describe()
        run = {"date": _now(), "commit": source_commit(), "served_by": served_by, "servers": self.args.servers,
               "max_model_len": server.served.max_model_len}  # fmt: skip
        path = self.folder / SETTINGS_NAME
        runs = [*read_json(path).get("runs", []), run]
        described = {"settings": self.known, "run_id": self.args.run_id, "runs": runs}
        write_json(path, described)
        name, sampling = self.problems.benchmark.name, self._sampling(server.served)
        problems, model = len(self.problems.by_row), server.served.name
        logger.info(
            "%s: asking %s for %d answers to %d problems; %d are there.", name, model, total, problems, len(journal)
        )

        async def ask() -> driver.Outcome:
            async with server.client(self.args) as client:
                requests = self.problems.requests(self.num_samples, sampling)
                most = self.args.max_concurrent
                return await driver.ask(requests, client.ask_one, journal, max_concurrent=most, total=total)

        outcome = driver.run(ask())
        run |= {"tokens": outcome.completion_tokens, "seconds": time.perf_counter() - started,
                "answers": outcome.done - outcome.failed}  # fmt: skip
        write_json(path, described)
        return outcome

    def _publish(self, reply_of: RepliesOf) -> None:
        folder, problems, args = self.folder, self.problems, self.args
        assert folder is not None
        metrics, requested = Metrics(problems), len(problems.by_row) * self.num_samples
        judge = judge_of(problems, folder, is_anew=args.judge_again)
        with answers_file(folder / ANSWERS_NAME, problems) as (write, part):
            for answers in judged_answers(problems, reply_of, self.num_samples, judge):
                metrics.add(answers)
                write(answers)
        counts, figures = metrics.counts(requested), metrics.figures(self.num_samples)
        if not figures:
            part.unlink()
            first = "".join(f", the commonest reason: {error}" for error in [*metrics.errors][:1])
            raise NoAnswersError(
                f"{problems.benchmark.name}: {counts['failed']} of {requested} requests failed{first}; verdicts: "
                f"{counts['verdicts']}. No answer could be judged; the same command asks again."
            )
        runs = read_json(folder / SETTINGS_NAME).get("runs", [])
        benchmark, commit = problems.benchmark, source_commit()
        described = {"dataset": benchmark.dataset, "config": benchmark.config, "split": benchmark.split,
                     "servers": args.servers, "served_with": shlex.split(args.served_with),
                     "served_by": _distinct([run["served_by"] for run in runs]),
                     "max_model_len": runs[-1]["max_model_len"] if runs else None}  # fmt: skip
        results = {
            "benchmark": benchmark.name,
            "is_complete": not counts["failed"] and not counts["lost"],
            "notes": [*problems.notes(), *metrics.notes(requested)],
            "run_id": args.run_id,
            "errors": metrics.errors,
            "metrics": figures,
            "speed": _speed_of(runs),
            "counts": {**counts, "rows_left_out": len(problems.skipped)},
            "settings": {**self.known, **self._of_the_results(), **described},
            "commit": commit,
            "commits": _distinct([*(run["commit"] for run in runs), commit]),
            "answers": {"rows": pq.read_metadata(part).num_rows, "bytes": part.stat().st_size},
        }
        write_json(folder / f".{RESULTS_NAME}.part", {**results, "date": _now(), "versions": package_versions()})
        part.replace(folder / ANSWERS_NAME)
        (folder / f".{RESULTS_NAME}.part").replace(folder / RESULTS_NAME)


@contextmanager
def answers_file(path: Path, problems: Problems) -> Iterator[tuple[Any, Path]]:
    """Yield what adds answers to a parquet file, and the name that the file has until the caller renames it."""
    part, rows = path.with_name(f".{path.name}.part"), []
    with pq.ParquetWriter(part, _SCHEMA, compression="zstd") as writer:

        def write(answers: Sequence[Answer], least: int = _BATCH_ROWS) -> None:
            for answer in answers:
                context, problem = problems.question_of(answer.row)
                known = {"problem": problem, "context": context, "solution": problems.by_row[answer.row].gold}
                rows.append({**vars(answer), **known, "answer": answer.text})
            if len(rows) >= least:
                writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
                rows.clear()

        yield write, part
        write([], 0)


def answers_fit(folder: Path, results: Mapping[str, Any]) -> bool:
    """Whether `answers.parquet` is that of the results: a run may have been killed between the two files."""
    path = folder / ANSWERS_NAME
    return path.is_file() and (results.get("answers") or {}).get("bytes") == path.stat().st_size


def read_results(folder: Path) -> dict[str, Any] | None:
    """Return what is in `results.json`; None: there is none, or it is another program's."""
    value = read_json(folder / RESULTS_NAME)
    return value if all(isinstance(value.get(name), dict) for name in _PARTS) else None


def read_json(path: Path) -> dict[str, Any]:
    """Return what is in a file; {}: there is none, or it is no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a file, whole or not at all."""
    part = path.with_name(f".{path.name}.new")
    with part.open("w", encoding="utf-8") as file:
        json.dump(plain_json(value), file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def archive(folder: Path) -> None:
    """Give a folder another name; refused where another process writes it."""
    path = folder / JOURNAL_NAME
    free = free_name(folder)
    if path.exists() and path.stat().st_size:
        with Journal(path, None):
            folder.rename(free)
    else:
        folder.rename(free)
    logger.warning("%s is begun anew. What it held is in %s.", folder, free)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _distinct(values: Sequence[Any]) -> list[Any]:
    return [value for place, value in enumerate(values) if value and value not in values[:place]]


def _speed_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """Return tokens and seconds of all runs that were not killed; None: no server counts tokens."""
    sums = {name: sum(run.get(name, 0) for run in runs) for name in ("tokens", "seconds", "answers")}
    return {**sums, "tokens_per_s": sums["tokens"] / sums["seconds"]} if sums["tokens"] else None


def engine_of(args: EvaluationArguments) -> str:
    """Return what serves a model here: vllm or transformers.

    Raises:
        FileNotFoundError: vLLM is asked for, by name or by arguments for it, and there is none.
    """
    if args.backend == "transformers":
        return args.backend
    try:
        find_vllm()
    except FileNotFoundError as error:
        if args.backend == "vllm" or args.serve_words:
            raise
        logger.info("transformers answers in this process, which is slower than vLLM: %s", error)
        return "transformers"
    return "vllm"


@contextmanager
def serving(args: EvaluationArguments, model: str | None, identity: Mapping[str, str | None]) -> Iterator[_Server]:
    """Yield who answers: servers of --url, a `vllm serve` for as long as the context is open, or transformers here."""
    if args.url or model is None:
        yield _found(args, _Server(args.servers), model)
    elif engine_of(args) == "transformers":
        from open_r1.generation.transformers_here import TransformersHere  # torch takes seconds to import

        revision = identity["model_commit"] or args.model_revision
        here = TransformersHere.load(model, revision=revision, trust_remote_code=args.trust_remote_code)
        yield _Server(here=here, served=here.served())
    else:
        path = Path(model).expanduser()
        # What the model's repository proposes for sampling isn't mixed with ours, unless it is asked for.
        words = [] if args.takes_generation_config else ["--generation-config", "vllm"]
        words += [] if path.exists() else ["--revision", identity["model_commit"] or args.model_revision]
        words += ["--trust-remote-code"] if args.trust_remote_code else []
        log_path = args.folder(model) / "vllm.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        env = {} if args.api_key_env else {"VLLM_API_KEY": ""}  # vLLM demands the key that it finds there
        with VllmServer(
            str(path) if path.exists() else model, args=[*words, *args.serve_words], log_path=log_path, env=env
        ) as server:
            try:
                yield _found(args, _Server([server.url]), model)
            except ServersDownError:
                server.check()  # tells why, where the server has ended
                raise


def _found(args: EvaluationArguments, server: _Server, model: str | None) -> _Server:
    """Ask servers for their model; refuse those of which answers would be mixed up.

    Raises:
        ValueError: They serve another model, or several, or answers would have limits that differ.
    """

    async def find() -> ServedModel:
        async with server.client(args) as client:
            return await client.find_model(wait_s=args.wait_s)

    server.served = served = driver.run(find())
    if args.url:
        refuse_another(model, served, args.served_model)
    return server
