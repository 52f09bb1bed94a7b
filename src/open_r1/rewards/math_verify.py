# SPDX-License-Identifier: Apache-2.0
r"""Math-verify as the judge, as in TRL's and Open R1's accuracy rewards, for comparable numbers.

`verifier: math_verify` in a recipe chooses it. Nothing else imports it, since math-verify brings sympy.

Different from TRL:
1. Pairs are judged in processes that are killed after `TIME_LIMIT_S`, from any thread: a pair that hangs, fills the
   memory or dies counts as wrong.
2. A completion in which nothing is found has the verdict no_answer, which earns 0 as well.
"""

import logging
import multiprocessing
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from math_verify import LatexExtractionConfig, parse, verify
from math_verify.parser import NormalizationConfig
from pebble import ProcessFuture, ProcessPool

from open_r1.rewards.verifier import JudgedAnswer, Verdict

logger = logging.getLogger(__name__)

# TRL's own limits, which only an alarm enforces, and what a pair may take in all.
_PARSING_S, _COMPARING_S, TIME_LIMIT_S = 10, 5, 30.0
_MEMORY_MB = 4096
_MAX_WORKERS = 4
_MAX_READ_CHARS = 300
RULE = "math-verify"
# As TRL and Open R1 read completions: LaTeX behind an anchor or in a box, boxes first.
_OF_A_COMPLETION = LatexExtractionConfig(
    normalization_config=NormalizationConfig(units=True), boxed_match_priority=0, try_extract_without_anchor=False
)


def judge_all(golds: Sequence[object], completions: Sequence[str], prompts: object = None) -> list[JudgedAnswer]:
    """Return the judgements of B completions, each by the gold of its row; math-verify looks at no prompts.

    Raises:
        ValueError: The columns differ in length.
    """
    pairs = [("" if gold is None else str(gold), text) for gold, text in zip(golds, completions, strict=True)]
    context = multiprocessing.get_context("forkserver")  # a fork of a process with threads or CUDA may hang
    context.set_forkserver_preload(["__main__", __name__])
    num_cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE") or "1")
    with ProcessPool(max(1, min(_MAX_WORKERS, num_cores)), initializer=_limit_memory, context=context) as pool:
        futures = [pool.schedule(judge_pair, pair, timeout=TIME_LIMIT_S) for pair in pairs]
        judgements = [_result(future, gold) for future, (gold, _) in zip(futures, pairs, strict=True)]
    if num_failed := sum(judgement.rule != RULE for judgement in judgements):
        logger.warning(
            "math-verify hung, died or raised on %d of %d pairs, which count as wrong.", num_failed, len(pairs)
        )
    return judgements


def judge_pair(gold: str, completion: str) -> JudgedAnswer:
    """Return math-verify's judgement; for a process that can be killed."""
    parsed = parse(gold, parsing_timeout=_PARSING_S)
    if not parsed:
        return JudgedAnswer(Verdict.UNVERIFIABLE, "", None, RULE)
    found = parse(
        completion, extraction_config=[_OF_A_COMPLETION], extraction_mode="first_match", parsing_timeout=_PARSING_S
    )
    is_right = verify(parsed, found, timeout_seconds=_COMPARING_S)
    verdict = Verdict.RIGHT if is_right else Verdict.WRONG if found else Verdict.NO_ANSWER
    return JudgedAnswer(verdict, _shown(parsed), _shown(found) if found else None, RULE)


def _shown(found: object) -> str:
    return str(found)[:_MAX_READ_CHARS]


def _result(future: ProcessFuture, gold: str) -> JudgedAnswer:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - too late, a crash, or whatever sympy raises; counted and logged
        rule = "timeout" if isinstance(error, TimeoutError) else f"crash: {type(error).__name__}"
    return JudgedAnswer(Verdict.WRONG, gold[:_MAX_READ_CHARS], None, rule)


def _limit_memory() -> None:
    """Let no pair take the machine's memory, and say nothing about pairs that math-verify can't judge in time."""
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + _MEMORY_MB * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
