# SPDX-License-Identifier: Apache-2.0
"""Runs of benchmarks on a model: load, ask, judge, write; what `scripts/run_benchmarks.py` does.

    <output>/<model>/<revision>/<benchmark>/settings.json      what the answers depend on, and who answered
                                            journal.jsonl      every answer; after kill -9 the same command resumes
                                            verdicts.jsonl     verdicts that are costly, of programs and rewards
                                            judge.jsonl        what a model was asked for second verdicts, and said
                                            answers.parquet    every answer with its verdict and score
                                            results.json       metrics, counts, notes and all settings; written last
    <output>/<model>/<revision>/vllm.log                       output of `vllm serve`

    {"benchmark": "aime24", "metrics": {"avg@64": 0.31, "avg@64_low": 0.22, "avg@64_high": 0.41, "pass@2": ...},
     "counts": {"problems": 30, "requested": 1920, "returned": 1920, ...}, "is_complete": true, "notes": [],
     "errors": {"HTTP 400: ...": 3}, "settings": {...}, "date": ..., "versions": {...}, "commit": ...}

1. A folder of other settings is refused, with the setting and both values; --overwrite archives it as `<benchmark>.1`.
2. More or fewer answers a problem, other limits and another judge go on in the journal: what is there isn't asked
   again, and all verdicts are those of the judge that `settings` names.
"""

import json
import logging
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from open_r1.data.card import plain_json
from open_r1.evaluation.benchmarks import Benchmark
from open_r1.evaluation.fingerprint import identify, identify_served, note_of_unknown
from open_r1.evaluation.judges import Answer, VerifierJudge, judge_of, judged_answers
from open_r1.evaluation.metrics import Metrics
from open_r1.evaluation.prompts import Problems
from open_r1.evaluation.settings import DEFAULT_MAX_TOKENS, EvaluationArguments
from open_r1.generation import driver
from open_r1.generation.client import Client, ServedModel, refuse_another
from open_r1.generation.journal import Journal, differing, free_name
from open_r1.generation.messages import ServersDownError
from open_r1.generation.servers import VllmServer, find_vllm
from open_r1.manifest import package_versions, source_commit

if TYPE_CHECKING:
    from open_r1.generation.transformers_here import TransformersHere

logger = logging.getLogger(__name__)

SETTINGS_NAME, JOURNAL_NAME = "settings.json", "journal.jsonl"
ANSWERS_NAME, RESULTS_NAME = "answers.parquet", "results.json"
_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("index", pa.int64()),
        ("problem", pa.large_string()),
        ("solution", pa.large_string()),
        ("answer", pa.large_string()),
        ("verdict", pa.string()),
        ("score", pa.float64()),
        ("note", pa.large_string()),
        ("finish_reason", pa.string()),
        ("num_tokens", pa.int64()),
        ("error", pa.string()),
        ("extracted", pa.large_string()),
    ]
)


@dataclass(frozen=True)
class Report:
    """How the run on one benchmark ended.

    Attributes:
        benchmark: Its name.
        folder: Where its results are.
        results: What is in `results.json`; None: a signal ended it early.
        was_done: Whether an earlier run had finished it.
        stopped_by: The signal.
    """

    benchmark: str
    folder: Path
    results: dict[str, Any] | None
    was_done: bool = False
    stopped_by: Signals | None = None


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
        JudgingError: The sandbox that runs programs is gone.
        RuntimeError: No answer came that could be judged.
    """
    model = next(iter(args.model_id), None)
    loads_here = model is not None and not args.url and not args.judge_again
    identity = {"model_commit": args.model_commit, "model_fingerprint": None}
    if args.model_commit is None:
        identity = identify(model, args.model_revision, is_loaded=loads_here)
    with ExitStack() as stack:
        runs = [_Run(entry, args, model, identity, suffix) for entry in benchmarks]
        if loads_here:
            engine = engine_of(args)
            for run in runs:
                run.known["served_engine"] = engine
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


class _Run:
    """The run on one benchmark.

    Attributes:
        known: What the answers depend on, as far as it is known.
        folder: Of its results; None: the server has to tell the model first.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        args: EvaluationArguments,
        model: str | None,
        identity: dict[str, str | None],
        suffix: str,
    ) -> None:
        self.problems = args.load(benchmark)
        self.args, self.model, self.identity, self.suffix = args, model, identity, suffix
        self.num_samples = args.samples_of(benchmark)
        column = self.problems.benchmark.solution_column
        self.judged: dict[str, Any] = {"num_samples": self.num_samples, "solution_column": column, "limit": args.limit}
        self.judged |= {"second_judge": None, **judge_of(self.problems, second=args.second_judge).check()}
        self.known = args.of_an_answer(self.problems)
        self.folder: Path | None = None

    def bind(self, served: ServedModel | None) -> None:
        """Take what the server tells, and refuse a folder of other settings, or archive it.

        Raises:
            ValueError: The folder has answers of other settings.
        """
        args, context = self.args, None if served is None else served.max_model_len
        if served is not None:
            self.known.setdefault("served_engine", "+".join(served.owners) or "unknown")
            if self.model is None:
                self.model, self.identity = served.name, identify_served(served)
        if self.model is None:
            raise ValueError("--judge_again needs --model_id, or the server of --url, to find the folder.")
        sampling = args.of_the_sampling(self.known.get("served_engine"), context)
        if served is None and args.max_tokens is None:  # the context of a server that hasn't started decides
            del sampling["max_tokens"], sampling["context_tokens"]
        self.known |= {**sampling, "model": self.model, **self.identity}
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
                f"{self.folder} has answers from other settings: {'; '.join(changed)}. Name another --output_dir, or "
                "archive that folder by --overwrite."
            )

    def is_done(self) -> bool:
        """Whether an earlier run has finished the same."""
        found = None if self.folder is None or self.args.judge_again else read_results(self.folder)
        if found is None or not found["is_complete"]:
            return False
        wanted = {**self.known, **self.judged}
        if "max_tokens" not in wanted and found["settings"].get("max_tokens") not in (None, DEFAULT_MAX_TOKENS):
            return False
        return not differing({name: found["settings"].get(name) for name in wanted}, wanted)

    def report(self, *, was_done: bool = False, stopped_by: Signals | None = None) -> Report:
        """Return what is in the folder, or that a signal has ended the run."""
        assert self.folder is not None
        results = None if stopped_by else read_results(self.folder)
        return Report(self.problems.benchmark.name, self.folder, results, was_done, stopped_by)

    def run(self, server: _Server) -> Report:
        """Ask, judge, write."""
        assert self.folder is not None and self.model is not None
        if not any(self.identity.values()):
            logger.warning("%s.", note_of_unknown(self.model))
        self.folder.mkdir(parents=True, exist_ok=True)
        if server.served is None:
            self.known = read_json(self.folder / SETTINGS_NAME).get("settings") or self.known
        path = self.folder / JOURNAL_NAME
        with Journal(path, self.known, is_final=lambda record: record["text"] is not None) as journal:
            stopped_by = None if server.served is None else self._ask(server, server.served, journal)
            if stopped_by is None:
                self._publish(journal)
        return self.report(stopped_by=stopped_by)

    def _ask(self, server: _Server, served: ServedModel, journal: Journal) -> Signals | None:
        """Ask what the journal doesn't have; return the signal that ended it early."""
        assert self.folder is not None
        sampling = self.args.sampling(self.known["served_engine"], served.max_model_len)
        if all((one.key, one.index) in journal for one in self.problems.requests(self.num_samples, sampling)):
            return None
        before = read_json(self.folder / SETTINGS_NAME)
        who = {"engine": self.known["served_engine"]} if server.here is None else server.here.describe()
        who |= {"max_model_len": served.max_model_len}
        described = {
            "settings": self.known,
            "run_id": self.args.run_id,
            "served_by": _distinct([*before.get("served_by", []), who]),
            "commits": _distinct([*before.get("commits", []), source_commit()]),
        }
        write_json(self.folder / SETTINGS_NAME, described)
        name, total = self.problems.benchmark.name, len(self.problems.by_row) * self.num_samples
        logger.info("%s: asking %s for %d answers; %d are there.", name, served.name, total, len(journal))

        async def ask() -> driver.Outcome:
            async with server.client(self.args) as client:
                requests = self.problems.requests(self.num_samples, sampling)
                most = self.args.max_concurrent
                return await driver.ask(requests, client.ask_one, journal, max_concurrent=most, total=total)

        return driver.run(ask()).stopped_by

    def _publish(self, journal: Journal) -> None:
        folder, problems, args = self.folder, self.problems, self.args
        assert folder is not None
        metrics, requested = Metrics(problems), len(problems.by_row) * self.num_samples
        judge = judge_of(problems, folder, is_anew=args.judge_again, second=args.second_judge)
        with answers_file(folder / ANSWERS_NAME, problems) as (write, part):
            for judged in judged_answers(
                problems, lambda row, index: journal[problems.by_row[row].key, index], self.num_samples, judge
            ):
                for row, answers in judged.items():
                    metrics.add(row, answers)
                write(judged)
        counts, figures = metrics.counts(requested), metrics.figures(self.num_samples)
        if not figures:
            part.unlink()
            raise RuntimeError(
                f"{problems.benchmark.name}: {counts['failed']} of {requested} requests failed: {metrics.errors}; "
                f"verdicts: {counts['verdicts']}. No answer could be judged; the same command asks again."
            )
        benchmark, commit, asked = problems.benchmark, source_commit(), read_json(folder / SETTINGS_NAME)
        second = judge.second if isinstance(judge, VerifierJudge) else None
        served_by = asked.get("served_by", [])
        described = {
            "dataset": benchmark.dataset,
            "config": benchmark.config,
            "split": benchmark.split,
            "servers": args.servers,
            "served_with": shlex.split(args.served_with),
            "served_by": served_by,
            "max_model_len": served_by[-1]["max_model_len"] if served_by else None,
        }
        results = {
            "benchmark": benchmark.name,
            "is_complete": not counts["failed"] and not counts["lost"],
            "notes": [*problems.notes(), *metrics.notes(requested)],
            "run_id": args.run_id,
            "errors": metrics.errors,
            "metrics": figures,
            "counts": {**counts, "rows_left_out": len(problems.skipped)},
            "second_judge": None if second is None else {**second.report(), "summary": str(second)},
            "settings": {**self.known, **self.judged, **described},
            "commit": commit,
            "commits": _distinct([*asked.get("commits", []), commit]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": package_versions(),
        }
        # Between the two files a kill leaves no results, which the same command makes again.
        (folder / RESULTS_NAME).unlink(missing_ok=True)
        part.replace(folder / ANSWERS_NAME)
        write_json(folder / RESULTS_NAME, results)


@contextmanager
def answers_file(path: Path, problems: Problems) -> Iterator[tuple[Any, Path]]:
    """Yield what adds answers to a parquet file, and the name that the file has until the caller renames it."""
    part = path.with_name(f".{path.name}.part")
    with pq.ParquetWriter(part, _SCHEMA, compression="zstd") as writer:

        def write(judged: Mapping[int, Sequence[Answer]]) -> None:
            rows = [
                {
                    **vars(one),
                    "problem": problems.text_of(row),
                    "solution": problems.by_row[row].gold,
                    "answer": one.text,
                }
                for row, answers in judged.items()
                for one in answers
            ]
            writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))

        yield write, part


def read_results(folder: Path) -> dict[str, Any] | None:
    """Return what is in `results.json`; None: there is none, or it is torn, or another program's."""
    value = read_json(folder / RESULTS_NAME)
    is_ours = "num_samples" in value.get("settings", {})
    return value if is_ours and (folder / ANSWERS_NAME).is_file() else None


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
    with Journal(path, None) if path.exists() and path.stat().st_size else nullcontext():
        folder.rename(free := free_name(folder))
    logger.warning("%s starts over. Its former content is in %s.", folder, free)


def _distinct(values: Sequence[Any]) -> list[Any]:
    return [value for place, value in enumerate(values) if value and value not in values[:place]]


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
        words = ["--generation-config", "vllm"]  # what the model's repository proposes isn't mixed with ours
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
