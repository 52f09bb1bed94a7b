# SPDX-License-Identifier: Apache-2.0
"""One answer as it comes, which all other methods are compared with: greedy, or a sampled chain of thought."""

from collections.abc import Iterator, Sequence

from open_r1.test_time.backends import Backend
from open_r1.test_time.methods import DEFAULT_TEMPERATURE, Method, MethodOptions, Problem, UnforcedMethod
from open_r1.test_time.results import Attempt, Setting
from open_r1.test_time.thinking import find_thinking


class ChainOfThought(UnforcedMethod):
    """One answer as it comes, greedy or sampled; see `methods.Method`."""

    def __init__(self, name: str, options: MethodOptions) -> None:
        self.name, self._options = name, options
        sampled = DEFAULT_TEMPERATURE if options.temperature is None else options.temperature
        self._temperature = 0.0 if name == "greedy" else sampled

    def groups(self) -> list[list[Setting]]:
        """Return the one setting."""
        return [[Setting(self.name)]]

    def solve(
        self, problems: Sequence[Problem], backend: Backend, settings: Sequence[Setting], seed: int
    ) -> Iterator[Attempt]:
        """Yield one attempt for each problem and setting."""
        options = self._options
        rooms = [backend.max_model_len - len(problem.prompt_ids) for problem in problems]
        completions = backend.complete(
            [problem.prompt_ids for problem in problems],
            max_tokens=[min(room, options.max_tokens or room) for room in rooms],
            temperature=self._temperature,
            top_p=options.top_p,
            seeds=[seed] * len(problems),
        )
        thinking = find_thinking(backend.tokenizer, options.thinking_start, options.thinking_end)
        for problem, completion in zip(problems, completions, strict=True):
            ids = completion.token_ids
            num_thinking = len(ids) if thinking is None else thinking.count(ids, backend.tokenizer)
            for setting in settings:
                yield Attempt(
                    problem.row,
                    completion.text,
                    num_thinking,
                    len(ids),
                    setting=setting,
                    finish_reason=completion.finish_reason,
                )


def build_method(name: str, options: MethodOptions) -> Method:
    """Return one of the two."""
    return ChainOfThought(name, options)
