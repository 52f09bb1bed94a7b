# SPDX-License-Identifier: Apache-2.0
"""What beam search and DVTS share: paths grow by steps, scorers say which of them go on.

A step ends at `step_separator`, after `max_step_tokens`, or with the answer. Paths are token ids, and what was sampled
is appended as it is: no text is tokenised again. All problems of a batch grow together.
Different from search-and-learn:
1. A step that reaches its limit in tokens goes on as another step; there it ends the beam.
2. The tokens of all that is sampled count, those of discarded candidates and of lookaheads too.
"""

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from open_r1.evaluation.metrics import group_answers
from open_r1.rewards.verifier.extract import extract_answer
from open_r1.test_time.aggregation import AGGREGATIONS, NO_STEPS, log_score
from open_r1.test_time.backends import Backend
from open_r1.test_time.methods import DEFAULT_TEMPERATURE, MethodOptions, Problem, UnforcedMethod
from open_r1.test_time.rendering import decode
from open_r1.test_time.results import FINGERPRINT, Attempt, Setting, Value
from open_r1.test_time.scorers import Scorer, build_scorer, checked_scores
from open_r1.test_time.thinking import Thinking, find_thinking
from open_r1.test_time.votes import CHOICES, choose

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Path:
    """A candidate, whole or not.

    Attributes:
        token_ids: What was sampled.
        text: The same, decoded.
        finish_reason: "stop" or "length"; "": it goes on.
        log_score: Of its steps, or of those that it was looked ahead to; see `aggregation.log_score`.
    """

    token_ids: tuple[int, ...] = ()
    text: str = ""
    finish_reason: str = ""
    log_score: float = NO_STEPS


@dataclass
class Work:
    """What a search has cost: tokens sampled, of these while thinking, and tokens that the scorer has read."""

    total_tokens: int = 0
    thinking_tokens: int = 0
    scorer_tokens: int = 0


class Tree(Protocol):
    """The search on one problem."""

    @property
    def results(self) -> list[Path]:
        """The candidates to choose from, at the end."""
        ...

    def beams(self) -> list[Path]:
        """Return the paths that grow by a step next, each as often as it is to; none: the search is over."""
        ...

    def take(self, candidates: Sequence[Path]) -> None:
        """Take what they have become, in their order, and decide how to go on."""
        ...


@dataclass
class Search:
    """A tree, with its problem and what it has cost."""

    problem: Problem
    tree: Tree
    work: Work = field(default_factory=Work)


class TreeSearch(UnforcedMethod):
    """Beam search and DVTS but for how trees grow; see `methods.Method`."""

    def __init__(self, name: str, options: MethodOptions) -> None:
        self.name, self._options = name, options
        self._check_options()
        self._ns = self._multiples()
        self._scorer: Scorer = build_scorer(options.scorer, options.scorer_kind, options.judge, for_method=name)
        self._temperature = DEFAULT_TEMPERATURE if options.temperature is None else options.temperature

    def new_tree(self, n: int, width: int) -> Tree:
        """Return the search before its first step."""
        raise NotImplementedError

    def _check_options(self) -> None:
        options = self._options
        if options.beam_width < 1:
            raise ValueError(f"{self.name}: beam_width is {options.beam_width}; it must be at least 1.")
        if options.max_steps < 1 or options.max_step_tokens < 1 or options.lookahead < 0:
            raise ValueError(
                f"{self.name}: max_steps is {options.max_steps}, max_step_tokens {options.max_step_tokens} and "
                f"lookahead {options.lookahead}; at least 1, 1 and 0 are allowed."
            )
        if not options.step_separator:
            raise ValueError(f"{self.name}: step_separator is empty; name the text that ends a step.")
        if options.temperature == 0 and max(options.n, default=0) > 1:
            raise ValueError(f"{self.name}: at temperature 0 all candidates are the same; set it above 0.")
        check_names(options)

    def _multiples(self) -> list[int]:
        """Return the n that are multiples of the width: other methods of the run may take the others too."""
        width, given = self._options.beam_width, self._options.n
        multiples = [n for n in given if n % width == 0]
        if not multiples or min(given) < 1:
            raise ValueError(
                f"{self.name}: n must be a multiple of beam_width ({width}), at least 1; got {list(given)}. "
                f"Set --n to multiples such as {width} {2 * width}, or --beam_width."
            )
        others = ", ".join(str(n) for n in given if n % width)
        if others:
            logger.warning(
                "%s: n = %s is left out: a search needs multiples of --beam_width, which is %d.",
                self.name,
                others,
                width,
            )
        return multiples

    def groups(self) -> list[list[Setting]]:
        """Return a group for each n and aggregation, which decide the search; choices share it."""
        options = self._options
        shared = {
            "beam_width": options.beam_width,
            "max_steps": options.max_steps,
            "lookahead": options.lookahead,
            "max_step_tokens": options.max_step_tokens,
            "step_separator": options.step_separator,
            **scorer_values(options, self._scorer),
        }
        return [
            [
                Setting(self.name, {"n": n, "aggregation": how, "choice": choice, **shared})
                for choice in options.choices
            ]
            for n in self._ns
            for how in options.aggregations
        ]

    def solve(
        self, problems: Sequence[Problem], backend: Backend, settings: Sequence[Setting], seed: int
    ) -> Iterator[Attempt]:
        """Yield one attempt for each problem and setting.

        Raises:
            ScorerError: The scorer failed.
        """
        options = self._options
        n, how = int(settings[0].values["n"] or 0), str(settings[0].values["aggregation"])
        thinking = find_thinking(backend.tokenizer, options.thinking_start, options.thinking_end)
        grower = Grower(options, backend, self._scorer, how, self._temperature, thinking)
        searches = [Search(problem, self.new_tree(n, options.beam_width)) for problem in problems]
        for depth in range(options.max_steps):
            pairs = [(search, beam) for search in searches for beam in search.tree.beams()]
            if not pairs:
                break
            grown = iter(grower.grow(pairs, depth, seed))
            for search in searches:
                search.tree.take([next(grown) for _ in search.tree.beams()])
        for search in searches:
            yield from _attempts_of(search, settings, options)


@dataclass(frozen=True)
class Grower:
    """Grows paths by a step and has them scored."""

    options: MethodOptions
    backend: Backend
    scorer: Scorer
    aggregation: str
    temperature: float
    thinking: Thinking | None

    def grow(self, pairs: Sequence[tuple[Search, Path]], depth: int, seed: int) -> list[Path]:
        """Return each path with one more step, and its score; after the last step a path is finished.

        Args:
            pairs: Paths that aren't finished, with their searches.
            depth: Number of the step, from 0.
            seed: Of the first candidate of a problem at step 0, the next have `seed + 1`, ...
        """
        is_last = depth == self.options.max_steps - 1
        places: dict[int, int] = {}
        seeds = []
        for search, _ in pairs:
            place = places[id(search)] = places.get(id(search), -1) + 1
            seeds.append(step_seed(seed, depth, place))
        grown = self._extend(pairs, seeds, self.temperature, is_last=is_last)
        ahead = self._look_ahead([(search, path) for (search, _), path in zip(pairs, grown, strict=True)])
        scored = checked_scores(
            self.scorer,
            [search.problem for search, _ in pairs],
            [path.text for path in ahead],
            self.options.step_separator,
        )
        for (search, _), result in zip(pairs, scored, strict=True):
            search.work.scorer_tokens += result.num_tokens
        return [
            replace(path, log_score=log_score(result.scores, self.aggregation))
            for path, result in zip(grown, scored, strict=True)
        ]

    def _look_ahead(self, pairs: Sequence[tuple[Search, Path]]) -> list[Path]:
        """Return the paths, gone on greedily by `lookahead` steps: what they are scored by."""
        paths = [path for _, path in pairs]
        for _ in range(self.options.lookahead):
            open_ = [place for place, path in enumerate(paths) if not path.finish_reason]
            further = self._extend([(pairs[place][0], paths[place]) for place in open_], [0] * len(open_), 0.0)
            for place, path in zip(open_, further, strict=True):
                paths[place] = path
        return paths

    def _extend(
        self, pairs: Sequence[tuple[Search, Path]], seeds: Sequence[int], temperature: float, *, is_last: bool = False
    ) -> list[Path]:
        if not pairs:
            return []
        rooms = [self._room(search.problem, path) for search, path in pairs]
        step_tokens = max(rooms) if is_last else self.options.max_step_tokens
        completions = self.backend.complete(
            [(*search.problem.prompt_ids, *path.token_ids) for search, path in pairs],
            max_tokens=[min(room, step_tokens) for room in rooms],
            temperature=temperature,
            top_p=self.options.top_p,
            seeds=seeds,
            stop=() if is_last else (self.options.step_separator,),
            include_stop=True,
        )
        grown = []
        for (search, path), completion, room in zip(pairs, completions, rooms, strict=True):
            ids = (*path.token_ids, *completion.token_ids)
            self._count(search.work, path.token_ids, ids)
            is_step = completion.finish_reason == "length" or isinstance(completion.stop_reason, str)
            reason = "stop" if not is_step else "length" if is_last or len(completion.token_ids) >= room else ""
            grown.append(Path(ids, decode(self.backend.tokenizer, ids, skip_special_tokens=True), reason))
        return grown

    def _room(self, problem: Problem, path: Path) -> int:
        whole = self.backend.max_model_len - len(problem.prompt_ids)
        return min(whole, self.options.max_tokens or whole) - len(path.token_ids)

    def _count(self, work: Work, before: Sequence[int], after: Sequence[int]) -> None:
        work.total_tokens += len(after) - len(before)
        if self.thinking is None:
            work.thinking_tokens += len(after) - len(before)
        else:
            tokenizer = self.backend.tokenizer
            work.thinking_tokens += self.thinking.count(after, tokenizer) - self.thinking.count(before, tokenizer)


def step_seed(seed: int, depth: int, place: int) -> int:
    """Return the seed of a candidate's step: `seed + place` at first, below 2^31 and far from these later on."""
    if depth == 0:
        return seed + place
    return int.from_bytes(hashlib.sha256(f"{seed}/{depth}/{place}".encode()).digest()[:4]) >> 1


def scorer_values(options: MethodOptions, scorer: Scorer) -> dict[str, Value]:
    """Return what of a scorer decides attempts, as a setting holds it; the kind of a model, named or found, too."""
    kind = {} if scorer.kind is None else {"scorer_kind": scorer.kind}
    known = {} if options.scorer_fingerprint is None else {FINGERPRINT: options.scorer_fingerprint}
    return {"scorer": options.scorer, **kind, **known}


def check_names(options: MethodOptions) -> None:
    """Refuse aggregations and choices that there aren't.

    Raises:
        ValueError: Names them.
    """
    for name, given, known in (
        ("aggregations", options.aggregations, tuple(AGGREGATIONS)),
        ("choices", options.choices, CHOICES),
    ):
        unknown = [value for value in given if value not in known]
        if unknown or not given:
            raise ValueError(f"--{name}: there is no {', '.join(unknown) or 'name'}; there are {', '.join(known)}.")


def _attempts_of(search: Search, settings: Sequence[Setting], options: MethodOptions) -> Iterator[Attempt]:
    results, work = search.tree.results, search.work
    answers = [extract_answer(path.text) if options.has_answers else None for path in results]
    classes = group_answers(answers)
    for setting in settings:
        place = choose([path.log_score for path in results], classes, str(setting.values["choice"]))
        chosen = results[place]
        yield Attempt(
            problem_row=search.problem.row,
            text=chosen.text,
            thinking_tokens=work.thinking_tokens,
            total_tokens=work.total_tokens,
            answer=answers[place],
            setting=setting,
            scorer_tokens=work.scorer_tokens,
            finish_reason=chosen.finish_reason or "length",
            details={
                "candidates": len(results),
                "answers": answers,
                "chosen": place,
                "scores": [math.exp(path.log_score) for path in results],
            },
        )
