# SPDX-License-Identifier: Apache-2.0
"""distilabel shard by shard: each in a process of its own, its answers into the journal, what failed once more.

distilabel cannot go on where it was interrupted (its second run hangs, argilla-io/distilabel#1065), so its cache is
off and what is finished lies in our journal. A process that says nothing for longer than its requests can take is
killed, with all it has started, and the shard is run again; so is one that died.
"""

import json
import logging
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from open_r1.data.card import read_card
from open_r1.data.folder import DatasetFolder
from open_r1.generation.balancing import REFUSALS_TO_STOP
from open_r1.generation.engine import Totals
from open_r1.generation.journal import Journal
from open_r1.generation.journal_header import has_generations
from open_r1.generation.outputs import DONE_NAME, JOURNAL_NAME, pick_up
from open_r1.generation.processes import MindedProcess
from open_r1.generation.progress import Pace, describe
from open_r1.generation.requests import ERROR, ChatRequest

logger = logging.getLogger(__name__)

ATTEMPTS = 3
_TICK_S = 0.2
_START_S = 600.0  # until its first line: imports, perhaps from a slow disk
_OWN_S = 120.0  # that distilabel itself takes between two lines, at most
_MOST_CONNECTIONS = 1000  # of the openai client: further requests wait for a connection
_LONGEST_PAUSE_S = 60.0  # between two attempts of the openai client at a request
_MANY = 16  # requests of which some are answered by any server that is well
_SOURCE_FOLDER = str(Path(__file__).resolve().parents[2])


class ShardError(RuntimeError):
    """A shard that cannot be finished: what it has is in the journal, and the same command goes on."""


@dataclass
class ShardRunner:
    """Runs distilabel on shards of generations.

    Args:
        pipeline: Arguments of `build_distilabel_pipeline`.
        folder: For files of the shard that runs; emptied at the start and at the end of each.
        check: Called when a shard has failed; raises when the server is the reason.
        stall_s: Seconds without a sign of life after which distilabel counts as hung (None: from its time limits).
        attempts: How often a shard is run at most.
        api_key: The server's; goes to distilabel in its environment.
    """

    pipeline: Mapping[str, Any]
    folder: Path
    check: Callable[[], None]
    stall_s: float | None = None
    attempts: int = ATTEMPTS
    api_key: str | None = None
    _log: Path = field(init=False)
    _has_answered: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._log = self.folder / "distilabel.log"
        if self.stall_s is None:
            self.stall_s = longest_silence_s(**{name: self.pipeline[name] for name in _TIMES})

    def run(self, asked: list[dict[str, Any]], journal: Journal) -> Iterator[dict[str, Any]]:
        """Ask for generations until each has an answer that will not change; yield the records kept of them.

        Records of failures that may pass are kept after the last attempt; a later run asks for them again.

        Args:
            asked: `key`, `index`, `instruction`, perhaps `system_prompt`, each.
            journal: Where records go, as soon as an attempt has ended.

        Raises:
            ShardError: distilabel failed or hung `attempts` times, or nothing but failures came back each time, or the
                server refuses the key, the model or the address.
        """
        left = {(request["key"], request["index"]): request for request in asked}
        for attempt in range(1, self.attempts + 1):
            answers = self._attempt(list(left.values()), attempt)
            refused = [answer for answer in answers if answer["is_refusal"]]
            if refused and not self._are_refused_all(answers):
                for answer in refused:
                    answer.update(is_refusal=False, is_final=True)
            is_last = attempt == self.attempts and not any(answer["is_refusal"] for answer in answers)
            kept = [answer for answer in answers if is_last or is_lasting(answer)]
            if is_last and len(left) == len(asked) and not any(map(is_lasting, answers)):
                self._judge_server(answers)
            journal.append(*kept)
            for record in kept:
                del left[record["key"], record["index"]]
                yield record
            _refuse_refusals(answers)
            if not left:
                return
            if answers:
                logger.warning("%s; asking again.", _failures(list(left.values()), answers))
        raise ShardError(f"distilabel gave no answers to {len(left)} requests, {self.attempts} times.")

    def _are_refused_all(self, answers: list[dict[str, Any]]) -> bool:
        """Whether the server refuses all requests, as `Balancer.refuses_all`, and not some prompts alone."""
        self._has_answered = self._has_answered or any(answer["text"] is not None for answer in answers)
        in_a_row: set[str] = set()
        for answer in answers:
            if answer["is_refusal"]:
                in_a_row.add(answer["key"])
            elif answer["text"] is not None:
                in_a_row.clear()
            if len(in_a_row) >= REFUSALS_TO_STOP:
                return True
        return not self._has_answered and any(answer["is_refusal"] and answer["status"] != 403 for answer in answers)

    def _judge_server(self, answers: list[dict[str, Any]]) -> None:
        """Raise when it is the server's fault that nothing at all was answered."""
        self.check()
        if len(answers) >= _MANY:
            raise ShardError(
                f"{_failures(answers, answers)}: the server seems unwell. Nothing of the shard is kept; "
                "when the server is well again, the same command goes on."
            )

    def _attempt(self, asked: list[dict[str, Any]], attempt: int) -> list[dict[str, Any]]:
        """Run distilabel once; no answers when it died or hung, unless that was the last attempt."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / "pipeline.json").write_text(json.dumps(self.pipeline), encoding="utf-8")
        with (self.folder / "asked.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(request) + "\n" for request in asked)
        answers = self.folder / "answers.jsonl"
        command = [sys.executable, "-P", "-m", "open_r1.generation.distil", str(self.folder)]
        with MindedProcess(command, log_path=self._log, env=self._environment(), grace_s=0.0) as process:
            trouble = self._watch(process, answers)
            tail = process.tail()
        if answers.exists():
            with answers.open(encoding="utf-8") as file:
                found = [json.loads(line) for line in file]
            shutil.rmtree(self.folder)
            return found
        self.check()
        if attempt == self.attempts:
            raise ShardError(f"distilabel {trouble}, {self.attempts} times. The end of {self._log}:\n{tail}")
        logger.warning("distilabel %s; the shard is run again. The end of its log:\n%s", trouble, tail)
        return []

    def _watch(self, process: MindedProcess, answers: Path) -> str:
        """Wait until the answers are there, the process has ended or is silent for too long; return what happened."""
        assert self.stall_s is not None
        size, heard = -1, time.monotonic()
        while (status := process.wait(_TICK_S)) is None:
            if answers.exists():
                return "is done"  # its own end can take a while, and hang too
            now_size = self._log.stat().st_size
            if now_size != size:
                size, heard = now_size, time.monotonic()
            elif time.monotonic() - heard > (self.stall_s if size else _START_S):
                return f"said nothing for {time.monotonic() - heard:.0f} s"
        return f"ended with exit status {status}"

    def _environment(self) -> dict[str, str]:
        path = [_SOURCE_FOLDER, *filter(None, [os.environ.get("PYTHONPATH")])]
        # Named twice, since programs differ in which spelling they read.
        server = urlsplit(str(self.pipeline.get("base_url", "")))
        # As `client.py`: what is asked without TLS is a node of the cluster, for which a proxy is only in the way.
        near = [server.hostname] if server.scheme == "http" else []
        known = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
        direct = [name for name in ("localhost", "127.0.0.1", *near, known) if name]
        return {
            **os.environ,
            "OPENAI_API_KEY": self.api_key or "",
            "PYTHONPATH": os.pathsep.join(path),
            "NO_PROXY": ",".join(direct),
            "no_proxy": ",".join(direct),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "HF_DATASETS_CACHE": str(self.folder / "cache" / "datasets"),  # distilabel reads its own files through it
        }


_TIMES = ("timeout", "retries", "input_batch_size", "num_generations")


def longest_silence_s(timeout: float, retries: int, input_batch_size: int, num_generations: int) -> float:
    """Return how many seconds a batch of distilabel can take at most, between two lines of its log."""
    waves = -(-input_batch_size * num_generations // _MOST_CONNECTIONS)
    return _OWN_S + waves * ((retries + 1) * timeout + retries * _LONGEST_PAUSE_S)


def is_lasting(record: Mapping[str, Any]) -> bool:
    """Whether asking again cannot give anything else: an answer, or a failure that is the row's own."""
    return record["finish_reason"] != ERROR or bool(record.get("is_final"))


def generate(
    requests: Iterable[ChatRequest],
    runner: ShardRunner,
    journal: Journal,
    *,
    shard_size: int,
    totals: Totals,
    total: int,
) -> None:
    """Ask for all that the journal does not have, a shard at a time, and log after each how far it is.

    Args:
        requests: All generations, in order.
        runner: Runs distilabel.
        journal: Where the records go.
        shard_size: Requests that are asked for together.
        totals: Counted on.
        total: Generations in all.
    """
    missing = (request for request in requests if (request.key, request.index) not in journal.finished)
    pace = Pace(totals)
    while shard := list(islice(missing, shard_size)):
        for record in runner.run([_to_row(request) for request in shard], journal):
            totals.done += 1
            totals.failed += record["text"] is None
            totals.truncated += record["finish_reason"] == "length"
            totals.completion_tokens += record["usage"]["completion_tokens"]
        journal.sync()
        logger.info("%s", describe(totals, total, pace))


def _to_row(request: ChatRequest) -> dict[str, Any]:
    return {"key": request.key, "index": request.index, "instruction": request.messages[-1]["content"]}


def open_journal(folder: DatasetFolder, *, retry_errors: bool) -> Journal:
    """Return the journal of an output folder, which goes on where the same command stopped.

    Args:
        folder: The output; its card has the settings. With `overwrite`, a journal of other settings is begun anew.
        retry_errors: Failures of every kind are asked for again, not only those that may pass, and those of a finished
            output too.

    Raises:
        JournalError: It is one of other settings, or in use.
    """
    settings = {**folder.card.settings, "parents": [parent.identity() for parent in folder.card.parents]}
    if retry_errors:
        pick_up(folder.path, settings, overwrite=folder.overwrite)
    is_final = _has_text if retry_errors else is_lasting
    return Journal(folder.path / JOURNAL_NAME, settings, is_final=is_final, overwrite=folder.overwrite)


def close_journal(journal: Journal, *, has_failures: bool) -> None:
    """Remove the journals of an output that was just finished; put the last aside for `retry_errors` with failures."""
    done_path = journal.path.with_name(DONE_NAME)
    if has_failures:
        journal.path.replace(done_path)
    else:
        done_path.unlink(missing_ok=True)  # of settings of before
        journal.path.unlink()


def has_failures(folder: DatasetFolder) -> bool:
    """Return whether a finished folder has failures to ask for again.

    Raises:
        ValueError: It has, and the journal with the generations that didn't fail is gone.
    """
    card = read_card(folder.path)
    if card is None or not card.steps[-1].detail.get("errors"):
        return False
    if not (folder.path / DONE_NAME).exists() and not has_generations(folder.path / JOURNAL_NAME):
        raise ValueError(
            f"{folder.path / DONE_NAME}, with the generations that didn't fail, is gone: all would be asked for "
            f"again. Put it back, or remove {folder.path} to begin anew."
        )
    return True


def _has_text(record: Mapping[str, Any]) -> bool:
    return record["text"] is not None


def _refuse_refusals(answers: list[dict[str, Any]]) -> None:
    refused = [answer for answer in answers if answer["is_refusal"]]
    if refused:
        raise ShardError(
            f"{_failures(refused, refused)}. What was done is kept: mend the key, the model or the "
            "address, and the same command goes on."
        )


def _failures(left: list[dict[str, Any]], answers: list[dict[str, Any]]) -> str:
    reasons = Counter(answer["error"] for answer in answers if not is_lasting(answer))
    if not reasons:
        return f"distilabel lost {len(left)} requests"
    (reason, count), *others = reasons.most_common()
    more = f", and {len(others)} other reasons" if others else ""
    return f"{len(left)} requests failed, {count} of them with: {reason}{more}"
