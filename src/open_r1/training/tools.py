# SPDX-License-Identifier: Apache-2.0
"""Tools, environment and rollout function of a GRPO run, from their names in the recipe to what TRL takes.

    tools: [python, my_tools.py:lookup]      # an interpreter for each rollout, and a function
    environment: my_game.py:Game             # an object for each rollout, whose public methods are tools

The model reads the name, the types and the docstring of a tool.
"""

import inspect
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.utils import get_json_schema
from transformers.utils.chat_template_utils import DocstringParsingException, TypeHintParsingException
from trl.chat_template_utils import (
    add_response_schema,
    get_training_chat_template,
    is_chat_template_prefix_preserving,
    qwen3_template,
    supports_tool_calling,
)

from open_r1.configs.training import GRPOConfig, GRPOScriptArguments
from open_r1.data.user_code import load_class, load_function
from open_r1.sandbox import Limits, SandboxError, run_coroutine
from open_r1.sandbox.local import LocalSandbox
from open_r1.sandbox.local.session import PythonSession

logger = logging.getLogger(__name__)

PYTHON = "python"
# A call as Qwen's templates write it, which `qwen3_template` reads.
_QWEN_CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call><|im_end|>'


class PythonInterpreter:
    """Environment with one tool, `python`: an interpreter in a local box for each rollout.

    A class of your own may derive from it, to change `limits`, add tools, or have a `get_reward`.

    Args:
        sandbox: Makes the boxes.
    """

    limits = Limits(cpu_s=5.0, memory_mb=512, output_bytes=4096)
    is_lost = False  # in an outage the trainer takes the rewards of the rollout away, of any environment with this

    def __init__(self, sandbox: LocalSandbox | None = None) -> None:
        self._session = PythonSession(sandbox or LocalSandbox(), self.limits)

    def reset(self, **columns: Any) -> str | None:
        """Begin a rollout, for a row with these columns; a text that is returned ends the prompt."""
        self.is_lost = False
        self._end()

    def python(self, code: str) -> str:
        """Run Python code. Variables stay from call to call.

        Args:
            code: The code. What it prints and the value of its last expression come back.
        """
        try:
            return run_coroutine(partial(self._session.call, code))
        except SandboxError:
            self.is_lost = True
            raise

    def _end(self) -> None:
        run_coroutine(self._session.close)


@dataclass(frozen=True)
class Tools:
    """What a run gives the policy to call, and the trainer to roll out by.

    Attributes:
        of_trainer: Arguments of TRL's trainer.
        of_template: What the chat template is given beside a conversation: the tools' JSON schemas.
    """

    of_trainer: dict[str, Any] = field(default_factory=dict)
    of_template: dict[str, Any] = field(default_factory=dict)


def load_tools(
    script_args: GRPOScriptArguments, training_args: GRPOConfig, tokenizer: PreTrainedTokenizerBase
) -> Tools:
    """Load what `tools`, `environment` and `rollout_func` name; let the tokenizer read calls of tools.

    Raises:
        ValueError: One can't be loaded or described to a model, the settings don't go together, the chat template
            can't write calls, or there is no sandbox for `python`.
    """
    args = training_args
    has_tools = bool(args.tools or args.environment)
    if args.stop_strings and (has_tools or args.rollout_func):
        raise ValueError("`stop_strings` doesn't go with `tools`, `environment` or `rollout_func`: leave it out.")
    if args.rollout_func is not None:
        if has_tools:
            raise ValueError("`rollout_func` calls tools by itself: leave out `tools` and `environment`.")
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
        return Tools({"rollout_func": load_function(args.rollout_func, role="function", setting="rollout_func")[0]})
    if not has_tools:
        return Tools()
    functions = [load_function(name, role="tool", setting="tools")[0] for name in args.tools if name != PYTHON]
    given: dict[str, Any] = {"tools": functions}
    methods: list[Callable] = []
    if (factory := _environment(script_args, args)) is not None:
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
        given["environment_factory"], one = factory, factory()
        if not callable(getattr(one, "reset", None)):
            raise ValueError(f"The environment {args.environment!r} has no method `reset(self, **columns)`.")
        if not script_args.reward_funcs and not hasattr(one, "get_reward"):
            raise ValueError("`reward_funcs` is empty, and the environment has no method `get_reward(self)`.")
        hidden = ("reset", "get_reward")
        names = [name for name, _ in inspect.getmembers(type(one), inspect.isfunction) if name not in hidden]
        methods = [getattr(one, name) for name in names if not name.startswith("_")]
    read_calls(tokenizer)
    if args.eval_benchmarks:
        logger.warning("`eval_benchmarks` are answered without tools; `do_eval` evaluates the test split with them.")
    return Tools(given, {"tools": list(map(_schema, [*functions, *methods]))})


def _environment(script_args: GRPOScriptArguments, args: GRPOConfig) -> Callable[[], Any] | None:
    if PYTHON not in args.tools:
        if args.environment is None:
            return None
        return load_class(args.environment, object, role="environment", setting="environment")
    if args.environment is not None:
        raise ValueError(
            "`tools: [python]` is an environment too, and a rollout can have only one: leave it out, and derive yours "
            "from open_r1.training.tools.PythonInterpreter."
        )
    sandbox = LocalSandbox(python=script_args.sandbox_python)
    try:
        run_coroutine(sandbox.setup)
    except SandboxError as error:
        args.refuse_here(f"The tool `python` has no sandbox here: {error}")
    return partial(PythonInterpreter, sandbox)


def _schema(tool: Callable) -> dict[str, Any]:
    try:
        return get_json_schema(tool)
    except (DocstringParsingException, TypeHintParsingException) as error:
        raise ValueError(f"The tool {tool.__name__!r} can't be described to the model: {error}") from error


def read_calls(tokenizer: PreTrainedTokenizerBase) -> None:
    """Let a tokenizer read the calls that its chat template writes.

    Raises:
        ValueError: The template writes none, or in a form that neither TRL nor the tokenizer knows.
    """
    if not supports_tool_calling(tokenizer):
        raise ValueError("The chat template can't render tool calls and their results: use another one.")
    if getattr(tokenizer, "response_template", None) is None:
        call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
        turns = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
        if _QWEN_CALL in tokenizer.apply_chat_template(turns, tokenize=False):
            tokenizer.response_template = qwen3_template
        else:
            add_response_schema(tokenizer)  # by the template's text; it names those it knows
    if not is_chat_template_prefix_preserving(tokenizer):
        get_training_chat_template(tokenizer)  # what TRL takes in its place, refused here where there is none


def end_sessions(environments: list[Any] | None) -> None:
    """End the interpreters of rollouts that are over."""
    for environment in environments or ():
        if isinstance(environment, PythonInterpreter):
            environment._end()
