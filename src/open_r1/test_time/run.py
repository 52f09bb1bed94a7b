# SPDX-License-Identifier: Apache-2.0
"""Runs of methods on a benchmark: what `scripts/test_time_compute.py` does.

    <output>/<model>/<revision>/<benchmark>-test-time/settings.json      what replies depend on; who answered
                                                      journal.jsonl      every reply and score; after kill -9 the same
                                                                         command resumes
                                                      verdicts.jsonl     verdicts that are costly, of programs
                                                      answers.parquet    attempts with their verdicts and scores
                                                      curve.png          accuracy against thinking tokens
                                                      results.json       points, counts, notes, settings; written last

A method is solved again from its first step by every command, out of the journal as far as that goes: other methods,
larger budgets or n, more repeats and problems, another judge and another scorer pay for what is new alone.
"""

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from open_r1.evaluation.fingerprint import identify, identify_served, note_of_unknown
from open_r1.evaluation.judges import judge_of
from open_r1.evaluation.prompts import Problems, load_problems
from open_r1.evaluation.run import (
    ANSWERS_NAME,
    JOURNAL_NAME,
    RESULTS_NAME,
    SETTINGS_NAME,
    archive,
    engine_of,
    read_json,
    serving,
    write_json,
)
from open_r1.evaluation.settings import label_of
from open_r1.generation import driver
from open_r1.generation.journal import Journal
from open_r1.generation.messages import Reply, Request, ServersDownError, row_key
from open_r1.manifest import package_versions, source_commit
from open_r1.test_time import budget_forcing
from open_r1.test_time.curves import Point, curves_of, draw_curves, forcing_of, points_of
from open_r1.test_time.methods import (
    ORACLE,
    SCORED,
    SEARCHES,
    SEEDS_APART,
    Attempt,
    Candidate,
    Policy,
    Steps,
    StepScores,
    Task,
    TestTimeArguments,
    get_method,
)
from open_r1.test_time.scorers import build_scorer, score_all
from open_r1.test_time.thinking import find_thinking

logger = logging.getLogger(__name__)

CURVE_NAME = "curve.png"
_SUFFIX = "-test-time"  # of folders: without it they are those of run_benchmarks.py, whose files have the same names
_REQUESTS_AT_ONCE = 2048  # their token ids are in memory together
_SCORED_AT_ONCE = 64  # candidates, whose scores are then in the journal


@dataclass(frozen=True)
class Report:
    """What a run has shown.

    Attributes:
        folder: Where it is.
        results: What is in `results.json`.
    """

    folder: Path
    results: Mapping[str, Any]


class Stopped(KeyboardInterrupt):
    """A signal that has ended the run while the model was asked."""


def run(args: TestTimeArguments) -> Report:
    """Do what the journal doesn't have yet, and write the results.

    Raises:
        ValueError: Settings, data, model, servers, or what is in the output folder don't go together.
        ServersDownError: No server answers or starts, or requests have failed.
        ScorerError: A scorer failed.
        JudgingError: The sandbox that runs programs is gone.
        Stopped: SIGINT or SIGTERM.
    """
    with ExitStack() as stack:
        return _Run(args, stack).run()


class _Run:
    """A run; the model is served from the first request on that the journal has no reply to."""

    def __init__(self, args: TestTimeArguments, stack: ExitStack) -> None:
        self.args, self._stack = args, stack
        (benchmark,) = args.chosen()
        of_prompts = {"template": args.prompt_template, "system_prompt": args.system_prompt or None}
        self.problems = load_problems(benchmark, limit=args.limit, judge=args.judge, code=args, **of_prompts)
        _refuse_votes(args, self.problems)
        self._judged_by = judge_of(self.problems, second=args.second_judge).check()
        named = next(iter(args.model_id), None)
        self._identity = identify(named, args.model_revision, is_loaded=not args.url)
        if args.model_commit is not None:
            self._identity = {"model_commit": args.model_commit, "model_fingerprint": None}
        self._model = named
        served: Any = self._server.served if args.url else None
        if named is None:
            self._identity = identify_served(served)
        self._model = named or served.name
        self._engine = engine_of(args) if served is None else "+".join(served.owners) or "unknown"
        self._folder = args.folder(self._model) / f"{benchmark.name}{_SUFFIX}"
        if args.overwrite and (self._folder / JOURNAL_NAME).exists():
            archive(self._folder)
        source = named or next(iter(served.roots), served.name)
        self._policy = self._load_policy(str(Path(source).expanduser()) if Path(source).exists() else source)
        self._judge = judge_of(self.problems, self._folder, second=args.second_judge)
        self._scorer, self._scored_by = None, list[Any]([args.scorer])
        if SCORED & set(args.methods) and args.scorer is not None:
            self._scorer = build_scorer(args.scorer, args.scorer_kind, self._judge)
            self._scored_by += [self._scorer.kind, self._scorer.identity]

    @cached_property
    def _server(self) -> Any:
        return self._stack.enter_context(serving(self.args, self._model, self._identity))

    def _noted(self) -> dict[str, Any]:
        """Return what is known of earlier runs."""
        return {"settings": {}, "runs": [], **read_json(self._folder / SETTINGS_NAME)}

    def _load_policy(self, source: str) -> Policy:
        from transformers import AutoTokenizer  # takes seconds, which refusals before needn't

        args = self.args
        tokenizer = AutoTokenizer.from_pretrained(
            source, revision=args.model_revision, trust_remote_code=args.trust_remote_code
        )
        thinking = find_thinking(tokenizer, args.thinking_start, args.thinking_end)
        self._reserve = args.answer_reserve_tokens
        if "budget_forcing" in args.methods:
            self._reserve += budget_forcing.room_tokens(thinking, max(args.num_waits))
        context = args.max_model_len or self._noted()["settings"].get("max_model_len")
        context = context or self._server.served.max_model_len
        if context is None:
            raise ValueError(f"The context length of {source!r} is unknown: set --max_model_len.")
        return Policy(args, tokenizer, context, thinking, self.problems.has_votes)

    def run(self) -> Report:
        """Solve, judge, write."""
        self._known, tasks = self._settings(), self._tasks()
        is_final = lambda record: record.get("text", "") is not None  # noqa: E731
        with Journal(self._folder / JOURNAL_NAME, self._known, is_final=is_final) as self._journal:
            attempts = self._attempts(tasks)
        return self._publish(attempts)

    def _settings(self) -> dict[str, Any]:
        """Return what all attempts depend on, beside the values of their settings."""
        args, policy = self.args, self._policy
        names = ("temperature", "top_p", "top_k", "min_p", "max_tokens", "thinking_start", "thinking_end",
                 "answer_reserve_tokens")  # fmt: skip
        return {
            **args.of_an_answer(self.problems),
            **self._identity,
            **{name: getattr(args, name) for name in names},
            "model": self._model,
            "served_engine": self._engine,
            "max_model_len": policy.context_tokens,
            "chat_template": hashlib.sha256(str(policy.tokenizer.chat_template).encode()).hexdigest()[:16],
            "seed": args.seed[0],
        }

    def _tasks(self) -> list[Task]:
        """Return the problems that leave room in the context.

        Raises:
            TemplateError: The chat template refuses a conversation, as some do a system prompt.
            ValueError: All prompts are too long.
        """
        found, policy = [], self._policy
        for row, problem in self.problems.by_row.items():
            turns = [dict(message) for message in problem.messages]
            text = policy.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            ids = policy.tokenizer.encode(str(text), add_special_tokens=False)
            if len(ids) + self._reserve <= policy.context_tokens:
                found.append(Task(row, problem.messages, ids, problem.text or turns[-1]["content"]))
        if not found:
            raise ValueError(
                f"All prompts are too long: none leaves {self._reserve} of {policy.context_tokens} tokens. Lower "
                "--answer_reserve_tokens, or give a longer context by --max_model_len."
            )
        return found

    def _attempts(self, tasks: Sequence[Task]) -> list[Attempt]:
        """Return the attempts of all methods at all settings."""
        args, found = self.args, []
        shown = {} if self._scorer is None else {"scorer": args.scorer}
        shown |= {"scorer_kind": self._scorer.kind} if self._scorer is not None and self._scorer.kind else {}
        plan = [
            (name, group, repeat, task)
            for name in args.methods
            for group in get_method(name).groups(name, args, shown)
            for repeat in range(args.repeats_of(name))
            for task in tasks
        ]
        done = 0
        while done < len(plan):
            batch, size = [], 0
            while done + len(batch) < len(plan) and size < _REQUESTS_AT_ONCE:
                batch.append(plan[done + len(batch)])
                size += max(int(setting.values.get("n") or 1) for setting in batch[-1][1])
            steps = [
                get_method(name).solve(task, group, self._policy, args.seed[0] + repeat * SEEDS_APART)
                for name, group, repeat, task in batch
            ]
            for (_, _, repeat, _), group in zip(batch, self._solve(steps), strict=True):
                found += [replace(attempt, repeat=repeat) for attempt in group]
            done += len(batch)
            logger.info("%s: %d of %d are solved.", self._folder.name, done, len(plan))
        return found

    def _solve(self, steps: Sequence[Steps]) -> list[list[Attempt]]:
        """Take the steps of many problems together, and return what came of each."""
        found: dict[int, list[Attempt]] = {}
        wanted = {place: next(one) for place, one in enumerate(steps)}
        while wanted:
            items = {self._name_of(item): item for one in wanted.values() for item in one}
            missing = {name: item for name, item in items.items() if name not in self._journal}
            self._ask([item for item in missing.values() if isinstance(item, Request)])
            self._score([(name, item) for name, item in missing.items() if isinstance(item, Candidate)])
            following = {}
            for place, one in wanted.items():
                try:
                    following[place] = steps[place].send([self._result(item) for item in one])
                except StopIteration as end:
                    found[place] = end.value
            wanted = following
        return [found[place] for place in range(len(steps))]

    def _name_of(self, item: Request | Candidate) -> tuple[str, int]:
        if isinstance(item, Request):
            return item.key, item.index
        return row_key([*self._scored_by, self.args.step_separator, item.task.row, item.text]), 0

    def _result(self, item: Request | Candidate) -> Reply | StepScores | None:
        if isinstance(item, Request):
            return self._journal[item.key, item.index]
        record = self._journal.get(self._name_of(item)) or {}
        return StepScores(record["scores"], record["num_tokens"])

    def _ask(self, requests: Sequence[Request]) -> None:
        if not requests:
            return
        args, server, noted = self.args, self._server, self._noted()
        served_by = {"engine": self._engine} if server.here is None else server.here.describe()
        run = {"commit": source_commit(), "served_by": served_by, "servers": args.servers}
        if run not in noted["runs"]:
            write_json(self._folder / SETTINGS_NAME, {"settings": self._known, "runs": [*noted["runs"], run]})

        async def ask() -> driver.Outcome:
            async with server.client(args) as client:

                async def ask_one(request: Request) -> Reply:
                    reply = await client.ask_one(request)
                    if reply.text is not None and reply.token_ids is None:
                        raise ValueError(
                            f"{reply.server} gives back text without token ids, which would be tokenised again, "
                            "perhaps into other tokens. Ask one that heeds return_token_ids, as vllm serve does."
                        )
                    return reply

                most, total = args.max_concurrent, len(requests)
                return await driver.ask(requests, ask_one, self._journal, max_concurrent=most, total=total)

        outcome = driver.run(ask())
        if outcome.stopped_by is not None:
            raise Stopped(outcome.stopped_by)
        if outcome.failed:
            raise ServersDownError(
                f"{outcome.failed} requests failed: {outcome.last_error}. The same command resumes."
            )

    def _score(self, named: Sequence[tuple[tuple[str, int], Candidate]]) -> None:
        for start in range(0, len(named), _SCORED_AT_ONCE):
            part = named[start : start + _SCORED_AT_ONCE]
            assert self._scorer is not None
            scored = score_all(self._scorer, [one for _, one in part], self.args.step_separator)
            for ((key, index), _), one in zip(part, scored, strict=True):
                self._journal.append({"key": key, "index": index, **vars(one)})

    def _publish(self, attempts: Sequence[Attempt]) -> Report:
        """Judge attempts, and write down what they come to."""
        args, folder, problems, runs = self.args, self._folder, self.problems, self._noted()["runs"]
        pairs = list(dict.fromkeys((one.row, text) for one in attempts for text, _ in one.chances))
        judgements = self._judge.judge([row for row, _ in pairs], [text for _, text in pairs])
        judged, rows, scored = dict(zip(pairs, judgements, strict=True)), [], []
        for one in attempts:
            score = math.fsum(chance * judged[one.row, text].score for text, chance in one.chances)
            scored.append(replace(one, score=score))
            text = one.chances[0][0]
            found = judged[one.row, text]
            said = {"answer": text, "extracted": found.extracted, "verdict": found.verdict, "score": score}
            rows.append({**vars(one), **said, "setting": one.setting.label, "details": json.dumps(one.details)})
            del rows[-1]["chances"]
        pq.write_table(pa.Table.from_pylist(rows), folder / f".{ANSWERS_NAME}.part", compression="zstd")
        (folder / f".{ANSWERS_NAME}.part").replace(folder / ANSWERS_NAME)
        clusters = {one.row: problems.cluster_of(one.row) for one in attempts}
        points = points_of(scored, clusters)
        curves, commit = curves_of(points), source_commit()
        num_long, num_repeated = len(problems.by_row) - len(clusters), len(clusters) - len(set(clusters.values()))
        results = {
            "benchmark": problems.benchmark.name,
            "points": [point.as_json() for point in points],
            "forcing": forcing_of(curves),
            "counts": {
                "problems": len(clusters),
                "problems_repeated": num_repeated,
                "attempts": len(attempts),
                "rows_left_out": len(problems.skipped) + num_long,
            },
            "notes": [*problems.notes(), *self._notes(points, num_long)],
            "settings": {
                **self._known,
                **self._judged_by,
                "scored_by": None if self._scorer is None else self._scorer.identity,
                "solution_column": problems.benchmark.solution_column,
                "methods": args.methods,
                "temperature": {method: args.temperature_of(method) for method in args.methods},
                "num_repeats": args.num_repeats,
                "limit": args.limit,
                "dataset": problems.benchmark.dataset,
                "served_by": [run["served_by"] for run in runs],
            },
            "commits": list(dict.fromkeys([*(run["commit"] for run in runs), commit])),
            "commit": commit,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": package_versions(),
        }
        title = f"{args.model_name or label_of(str(self._model))} on {problems.benchmark.name}"
        draw_curves(curves, folder / CURVE_NAME, title)
        write_json(folder / RESULTS_NAME, results)
        return Report(folder, results)

    def _notes(self, points: Sequence[Point], num_long: int) -> list[str]:
        """Return what must be known to read the points."""
        args, num_lost = self.args, sum(point.figures["lost"] for point in points)
        notes = {
            note_of_unknown(str(self._model)): not any(self._identity.values()),
            f"{num_long} prompts are too long for the context of {self._policy.context_tokens} tokens: all accuracies "
            "are of the other problems": num_long,
            "the oracle looks at the gold: its accuracies are upper bounds of what scorers could do": args.scorer
            == ORACLE,
            f"{num_lost} attempts could not be judged: the accuracies are of the others": num_lost,
        }
        return [note for note, is_due in notes.items() if is_due]


def _refuse_votes(args: TestTimeArguments, problems: Problems) -> None:
    """Refuse votes on programs: no two of them are the same answer, so that a vote of N is one sample."""
    votes = sorted({"majority", "weighted"} & set(args.methods))
    if not problems.has_votes and (votes or ("vote" in args.choices and SEARCHES & set(args.methods))):
        raise ValueError(
            f"{problems.benchmark.name}: answers that a reward judges, such as programs, can't vote: leave out "
            f"{', '.join(votes) or 'vote (--choices max)'}; cot with --num_repeats, or best_of_n, can be asked."
        )
