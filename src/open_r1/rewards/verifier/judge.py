# SPDX-License-Identifier: Apache-2.0
"""Judges completions and answers by their golds, says why, and turns verdicts into rewards and metrics.

Gold and answer are read, and compared by what they are, within a budget of steps.
"""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from open_r1.rewards.base import LogExtra, LogMetric
from open_r1.rewards.verifier.answer import equal_plain_numbers, is_plain_number, read
from open_r1.rewards.verifier.budget import OverBudgetError, limited_to
from open_r1.rewards.verifier.echo import is_echo
from open_r1.rewards.verifier.equal import equal_readings
from open_r1.rewards.verifier.extract import Answer, extract_gold, find_answer
from open_r1.rewards.verifier.families import expand_plus_minus
from open_r1.rewards.verifier.tokens import MAX_FORMULA_CHARS, TEXT_CLOSE, TEXT_OPEN, UnreadableError
from open_r1.rewards.verifier.tree import Choice, Formula, Node, Reading, Words, cut, parts_of, show
from open_r1.rewards.verifier.value import FormulaError, check_value

logger = logging.getLogger(__name__)

# Pairs that are kept, since a group asks G times for one gold and several rewards ask for the same row.
_MAX_PAIRS = 16_384
_MAX_KEPT_CHARS = 4_000
# What golds that can't be judged look like; the first that fits names the kind.
_KINDS = {
    "missing": re.compile(
        r"not\s?found|null|nan|n/a|no answer|omitted|(?:see|refer to)\s(?:the\s)?(?:\w+\s)?"
        r"(?:solutions?|explanation|answer|above|below|figure|text)|(?:答案)?(?:略|见解析|见图|无答案)",
        re.I,
    ),
    "proof": re.compile(r"\b(?:proofs?|prove[sdn]?|proving|q\.?e\.?d)\b|\\(?:blacksquare|square)\b|证明|见解析", re.I),
    "calculus": re.compile(r"\\(?:i*int|oint|sum|prod|lim)(?![a-zA-Z])|\\[dt]?frac\s*\{\s*(?:d|\\partial)\s*\}"),
    "prose": re.compile(r"(?:(?<![\\a-zA-Z])[a-zA-Z]{2,}\W+){3}(?<![\\a-zA-Z])[a-zA-Z]{2,}|[\u4e00-\u9fff]{4}"),
}
# An answer in words has fewer, and deduces nothing.
_MAX_WORDS = 12
_DEDUCTION = re.compile(
    r"\b(?:since|because|therefore|hence|thus|we|let|suppose|assume|it follows)\b|因为|所以|由于", re.I
)
# 1000,99 and 0,111 beside a decimal in points; else they are lists, and 1,234 is a thousand.
_DECIMAL_COMMA = re.compile(r"\s*[-+]?(?:0,\d+|\d{1,9},(?!\d{3}\s*$)\d{1,30})\s*")
# The rule of a judgement where the verifier raised.
FAILED = "failed"
# About a microsecond each: for reading a gold, and for comparing it with one answer.
MAX_STEPS = 150_000
_FAILURES = (UnreadableError, FormulaError, OverBudgetError, RecursionError)


class Verdict(StrEnum):
    """The outcome for one row; the package's docstring says when each is given."""

    RIGHT = "right"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    ECHO = "echo"
    UNVERIFIABLE = "unverifiable"

    @property
    def reward(self) -> float | None:
        """1.0 for right, None where the gold is at fault, else 0.0."""
        if self is Verdict.UNVERIFIABLE:
            return None
        return 1.0 if self is Verdict.RIGHT else 0.0


@dataclass(frozen=True)
class JudgedAnswer:
    """What the verifier says of an answer.

    Attributes:
        verdict: The outcome.
        gold_read: How the gold was read; where it couldn't be, its text. Long ones are cut.
        answer_read: How the answer was read; None: there is none.
        rule: What decided.
    """

    verdict: Verdict
    gold_read: str
    answer_read: str | None
    rule: str


def verify(gold: object, completion: str, prompt: str | None = None) -> Verdict:
    r"""Return the verdict of one completion by its gold answer. The order matters: the gold comes first.

    >>> verify("42", "<think>\n6 * 7\n</think>\n<answer>\n42\n</answer>")
    <Verdict.RIGHT: 'right'>
    >>> str(verify(r"\frac{1}{2}", r"so \boxed{0.25}")), str(verify("42", "no idea")), str(verify("", r"\boxed{1}"))
    ('wrong', 'no_answer', 'unverifiable')
    """
    return judge_completion(gold, completion, prompt).verdict


def verify_all(
    golds: Sequence[object], completions: Sequence[str], prompts: Sequence[str | None] | None = None
) -> list[Verdict]:
    """Return the verdicts of B completions, each by the gold of its row.

    Args:
        golds: Gold answers or worked solutions; a gold that is a number is read as its text.
        completions: What the model wrote.
        prompts: The questions, so that a formula of the question is no answer to it; None: they aren't known.

    Raises:
        ValueError: The columns differ in length.
    """
    return [judgement.verdict for judgement in judge_all(golds, completions, prompts)]


def judge_all(
    golds: Sequence[object], completions: Sequence[str], prompts: Sequence[str | None] | None = None
) -> list[JudgedAnswer]:
    """Return the judgements of B completions, each by the gold of its row: `verify_all` with what was read.

    Raises:
        ValueError: The columns differ in length.
    """
    rows = zip(golds, completions, [None] * len(golds) if prompts is None else prompts, strict=True)
    return [judge_completion(gold, completion, prompt) for gold, completion, prompt in rows]


def judge_completion(gold: object, completion: str, prompt: str | None = None) -> JudgedAnswer:
    """Return the judgement of a completion: right where each of its boxes is right, or the list of them."""
    answer = find_answer(completion)
    gold_text = "" if gold is None else extract_gold(str(gold))
    judgement = _judge_answer(gold_text, answer)
    is_judged = judgement.verdict in (Verdict.RIGHT, Verdict.WRONG)
    if prompt and is_judged and any(is_echo(gold_text, text, prompt) for text in _texts_of(answer)):
        return replace(judgement, verdict=Verdict.ECHO, rule="a formula of the question")
    return judgement


def _texts_of(answer: Answer) -> list[str]:
    return [text for text in (answer.text, *answer.others, answer.joined) if text]


def _judge_answer(gold_text: str, answer: Answer) -> JudgedAnswer:
    found = _judge_once(gold_text, answer.text)
    others = [_judge_once(gold_text, text) for text in answer.others] if found.verdict is Verdict.RIGHT else []
    if found.verdict is Verdict.RIGHT and all(other.verdict is Verdict.RIGHT for other in others):
        return found
    # A plain number is no list, though "1,234" may be read as one.
    if answer.joined is not None and found.verdict.reward is not None and not is_plain_number(gold_text):
        joined = _judge_once(gold_text, answer.joined)
        if joined.verdict is Verdict.RIGHT:
            return joined
    if not others:
        return found
    boxes = [str(judgement.answer_read) for judgement in (*reversed(others), found)]
    return replace(found, verdict=Verdict.WRONG, answer_read=" | ".join(boxes), rule="unequal boxes")


def _judge_once(gold: str, answer: str | None) -> JudgedAnswer:
    is_kept = len(gold) + len(answer or "") <= _MAX_KEPT_CHARS
    return (_judge_kept_pair if is_kept else judge_pair)(gold, answer)


def judge_pair(gold: str, answer: str | None) -> JudgedAnswer:
    """Return the judgement of an extracted answer by an extracted gold; what fails is a verdict too, and is logged."""
    try:
        return judge_texts(gold, answer)
    except Exception:  # any text comes here, and a fault of ours must not end a training
        logger.exception("The verifier failed on the gold %.200r and the answer %.200r", gold, answer)
        is_gold = answer is None or judge_pair(gold, None).verdict is Verdict.UNVERIFIABLE
        return JudgedAnswer(
            Verdict.UNVERIFIABLE if is_gold else Verdict.WRONG, gold[:200], answer and answer[:200], FAILED
        )


# Safe in threads and after a fork: it holds no lock while it judges.
@lru_cache(maxsize=_MAX_PAIRS)
def _judge_kept_pair(gold: str, answer: str | None) -> JudgedAnswer:
    return judge_pair(gold, answer)


def explain(gold: object, completion: str) -> str:
    r"""Return how gold and completion were read, what decided, and the verdict, a line each.

    >>> print(explain("0.5", r"so $x = \boxed{\frac{1}{2}}$"))
    gold:    1/2
    answer:  1/2
    rule:    formula and formula
    verdict: right
    """
    found = judge_completion(gold, completion)
    answer = "(none)" if found.answer_read is None else found.answer_read
    return f"gold:    {found.gold_read}\nanswer:  {answer}\nrule:    {found.rule}\nverdict: {found.verdict}"


def unjudgeable_kind(gold: object) -> str | None:
    r"""Return what kind of gold can't be judged: blank, missing, proof, calculus, prose, formula; None: it can.

    >>> [unjudgeable_kind(gold) for gold in ("", r"\frac{1}{", "Hence $AB=CD$, which proves that $x=y$.", "42")]
    ['blank', 'formula', 'proof', None]
    """
    text = "" if gold is None else extract_gold(str(gold))
    if _judge_once(text, None).verdict is not Verdict.UNVERIFIABLE:
        return None
    if not re.search(r"\w", text):
        return "blank"
    kinds = (
        kind
        for kind, pattern in _KINDS.items()
        if (pattern.fullmatch if kind == "missing" else pattern.search)(text.strip(" .$"))
    )
    return next(kinds, "formula")


def log_verdicts(
    name: str, judgements: Sequence[JudgedAnswer], log_extra: LogExtra | None, log_metric: LogMetric | None
) -> None:
    """Log the columns `<name>/verdict`, `gold_read`, `answer_read`, and each verdict's rate as `<name>/<verdict>`."""
    verdicts = [judgement.verdict.value for judgement in judgements]
    if log_extra is not None:
        # NOTE: every column has a value for every row: TRL's log ends with a column that is logged for some.
        log_extra(f"{name}/verdict", verdicts)
        log_extra(f"{name}/gold_read", [judgement.gold_read for judgement in judgements])
        log_extra(f"{name}/answer_read", [judgement.answer_read or "" for judgement in judgements])
    if log_metric is not None and verdicts:
        counts = Counter(verdicts)
        for verdict in Verdict:
            log_metric(f"{name}/{verdict.value}", counts[verdict.value] / len(verdicts))


def fingerprint_verifier(folder: Path = Path(__file__).parent) -> str:
    """Return a hash of the verifier's code and of the library that it computes with, the same on every machine."""
    parts = [f"mpmath {version('mpmath')}".encode()]
    for path in sorted(folder.rglob("*.py")):
        parts += [path.relative_to(folder).as_posix().encode(), path.read_bytes()]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]


def judge_texts(gold: str, answer: str | None) -> JudgedAnswer:
    r"""Return how an answer is judged by its gold, both without their boxes; None is no answer.

    >>> judge_texts("1,234", "1234.0").verdict, judge_texts(r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}").verdict
    (<Verdict.RIGHT: 'right'>, <Verdict.RIGHT: 'right'>)
    """
    if answer is not None and _is_decimal(gold) and _DECIMAL_COMMA.fullmatch(answer):
        answer = answer.replace(",", ".")
    elif answer is not None and _is_decimal(answer) and _DECIMAL_COMMA.fullmatch(gold):
        gold = gold.replace(",", ".")
    if answer is not None and is_plain_number(gold) and is_plain_number(answer):
        verdict = Verdict.RIGHT if equal_plain_numbers(gold, answer) else Verdict.WRONG
        return JudgedAnswer(verdict, cut(gold), cut(answer), "plain numbers")
    try:
        reading = _read_gold(gold)
    except _FAILURES as error:
        return JudgedAnswer(
            Verdict.UNVERIFIABLE, cut(gold), answer and cut(answer), f"the gold can't be judged: {error}"
        )
    if answer is None:
        return JudgedAnswer(Verdict.NO_ANSWER, show(reading), None, "no answer")
    is_equal, answer_read = False, cut(answer)
    try:
        with limited_to(MAX_STEPS):
            found = read(answer)
        answer_read = show(found)
        with limited_to(MAX_STEPS):
            is_equal, rule = equal_readings(reading, found)
    except _FAILURES as error:
        rule = f"the answer can't be read or compared: {error}"
    return JudgedAnswer(Verdict.RIGHT if is_equal else Verdict.WRONG, show(reading), answer_read, rule)


def _is_decimal(text: str) -> bool:
    return "." in text and is_plain_number(text)


# NOTE: failures aren't kept: one may come from the budget of a caller.
@lru_cache(maxsize=4_096)
def _read_gold(gold: str) -> Reading:
    """Return the reading of a normalised gold that has a value."""
    if is_plain_number(gold) and len(gold) > MAX_FORMULA_CHARS:
        # Only another plain number could equal it.
        return Reading(gold, Words(gold))
    with limited_to(MAX_STEPS):
        reading = read(gold)
        _check(reading)
    plain = "".join(char for char in reading.text if char not in (TEXT_OPEN, TEXT_CLOSE)).strip(" .")
    if _KINDS["missing"].fullmatch(plain) or (isinstance(reading.node, Words) and _is_solution(plain)):
        raise UnreadableError("no answer")
    return reading


def _is_solution(words: str) -> bool:
    """Whether words are a proof or the prose of a solution."""
    num_words = len(re.findall(r"[^\W\d_]+|[\u4e00-\u9fff]{2}", words))
    return (
        num_words > _MAX_WORDS
        or _KINDS["proof"].search(words) is not None
        or (num_words > 4 and _DEDUCTION.search(words) is not None)
    )


def _check(node: Node) -> None:
    """Evaluate every formula of a gold once; raises where one has no value."""
    node = expand_plus_minus(node)
    if isinstance(node, Formula):
        check_value(node)
    elif not isinstance(node, Choice):
        for part in parts_of(node):
            _check(part)
