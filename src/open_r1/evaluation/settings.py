# SPDX-License-Identifier: Apache-2.0
"""Arguments of `scripts/run_benchmarks.py`: one dataclass for the flags, their defaults, and what answers depend on.

EvaluationArguments(model_id=["data/grpo"], data="sums.jsonl", temperature=0.6, num_samples=4)
settings.json  {"settings": {"temperature": 0.6, "source": [...], "template": "...", ...}, "runs": [...]}
"""

import argparse
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from open_r1.configs.fields import setting
from open_r1.configs.rewards import CodeExecutionParameters
from open_r1.data.cli import read_api_key, respelled
from open_r1.evaluation import prompts
from open_r1.evaluation.benchmarks import (
    AUTO,
    SUPPORTED_BENCHMARKS,
    Benchmark,
    find_benchmarks,
    local_benchmark,
    refuse_same_names,
)
from open_r1.generation.client import Patience
from open_r1.generation.messages import NEUTRAL, Sampling
from open_r1.generation.servers import check_serve_args
from open_r1.rewards.second_judge import SecondJudgeArguments

# As in the tables of DeepSeek-R1 and Open R1; where the context is shorter, what it leaves.
DEFAULT_MAX_TOKENS = 32768
_SAMPLING = tuple(entry.name for entry in fields(Sampling) if entry.name not in ("extra_body", "stop"))


@dataclass(kw_only=True)
class EvaluationArguments(SecondJudgeArguments, CodeExecutionParameters):
    """How benchmarks are run on models.

    Raises:
        ValueError: A value is out of its range, or two contradict each other.
    """

    model_id: list[str] = setting(
        [],
        "Folders, or names on the hub: models, or checkpoints of one; without any, what --url serves.",
    )
    model_revision: str = setting("main", "Branch, tag or commit on the hub.")
    model_name: str | None = setting(None, "Name in the results; by default that of the model, or of its folder.")
    trust_remote_code: bool = setting(
        False,
        "Run code from the repository: in `vllm serve`, or with transformers in this very process; or the servers of "
        "--url do.",
    )
    system_prompt: str | None = setting(None, "First message of each conversation.")
    prompt_template: str | None = setting(
        None,
        "Text with {prompt}, which alone is replaced; by default it asks for steps, and for a boxed answer, a boxed "
        "letter or a block of code.",
    )
    benchmarks: list[str] = setting(
        [],
        "Names of --list_benchmarks; `all` of these; data sets of the hub as owner/name; or local files; "
        "several by spaces or commas.",
        action="extend",
    )
    list_benchmarks: bool = setting(False, "Print the table of benchmarks, and nothing else.")
    data: str | None = setting(None, "Local JSON lines, parquet, csv or folder, or a data set of the hub.")
    kind: Literal["auto", "math", "choices", "code"] = setting(
        AUTO,
        "Of --data: math has gold answers; choices a column `choices`, or those of GPQA; code tests, as of "
        "verification_info or LiveCodeBench; auto: what the columns say.",
    )
    prompt_column: str = setting("problem", "Problems of --data.")
    solution_column: str = setting("solution", "Gold answers, worked solutions or right choices of --data.")
    split: str = setting("train", "Split of --data, or a slice such as train[:100].")
    limit: int | None = setting(None, "The first so many problems; by default all.")
    judge: str | None = setting(
        None,
        "A reward in place of the benchmark's judge: file.py:function, called with completions and all columns, which "
        "gives each a score from 0 to 1, or None; or a name of the table of rewards.",
    )
    judge_again: bool = setting(False, "Judge the answers that the folders hold anew, and ask nothing.")
    output_dir: str = setting("eval_results", "Folder of the results.")
    overwrite: bool = setting(False, "Archive the folder of earlier answers under another name, and begin anew.")
    run_id: str | None = setting(
        None, "Of jobs that are requeued: --overwrite leaves what a run of that name has begun."
    )
    slurm: bool = setting(False, "Submit slurm/evaluate.slurm with these settings instead of running.")
    backend: Literal["auto", "vllm", "transformers"] = setting(
        "auto",
        "What serves --model_id without --url: `vllm serve`, or transformers in this process; auto: vllm where it is "
        "installed.",
    )
    url: str | None = setting(None, "host:port or URL, several by commas; without it, --backend serves.")
    served_model: str | None = setting(None, "Name to ask the servers for; by default the one that they serve.")
    serve_args: str = setting(
        "",
        "For `vllm serve`, as a shell splits them: --serve_args='--data-parallel-size 8 --dtype half'; with --url, "
        "those that its servers were started with: other ones are another run.",
        metavar="WORDS",
    )
    model_commit: str | None = setting(
        None, "With --url, what its servers have loaded; by default --model_revision on the hub now."
    )
    served_with: str = setting("", "With --url, the whole command line of its servers, for the record.")
    api_key_env: str | None = setting(None, "Environment variable with the API key.")
    wait_s: float = setting(0.0, "Seconds to wait for the first server.")
    max_concurrent: int = setting(256, "Requests in flight.")
    retries: int = setting(9, "How often a failed request is sent again.")
    # So many tokens take 6,600 s at the 5 tokens/s that a server with many requests in flight may give to each.
    timeout: float = setting(7200.0, "Seconds for one answer.")
    patience: float = setting(600.0, "Seconds without any server, then it stops.")
    num_samples: int | None = setting(
        None, "Answers a problem; by default the benchmark's, of other data 4; 1 at temperature 0."
    )
    temperature: float = setting(0.6, "0 to 2.")
    top_p: float = setting(0.95, "Above 0, at most 1.")
    top_k: int | None = setting(
        None, "By default all tokens, unless a server of --url that isn't vLLM says otherwise."
    )
    min_p: float | None = setting(None, "By default likewise none.")
    max_tokens: int | None = setting(
        None, f"Of one answer, reasoning included; by default {DEFAULT_MAX_TOKENS}, or what the context leaves."
    )
    seed: list[int] = setting(
        [0], "Of the first answer to a problem, the next have seed + 1, ...; several are several runs."
    )
    code_test_timeout_s: float = setting(6.0, "CPU seconds of a test, as of LiveCodeBench's own judge.")
    code_memory_mb: int = setting(2048, "MiB of a test.")

    def __post_init__(self) -> None:
        for name in ("num_samples", "limit", "max_concurrent"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} is {value}; it must be at least 1.")
        is_greedy_again = self.temperature == 0 and ((self.num_samples or 1) > 1 or len(self.seed) > 1)
        has_one_name = len(self.model_id) < 2 or not (self.url or self.model_name)
        refusals = {
            f"--backend {self.backend} serves a model here; --url names servers too": self.backend != "auto"
            and self.url,
            "--serve_args are for vLLM, and --backend is transformers": self.backend == "transformers"
            and self.serve_words,
            "Name the model by --model_id, or a server that serves it by --url": not (
                self.model_id or self.url or self.list_benchmarks
            ),
            "Several models of --model_id are served one after the other: leave --url and --model_name out": (
                not has_one_name
            ),
            "--temperature 0 gives the same answer each time: num_samples must be 1, and one seed": is_greedy_again,
        }
        if refused := [text for text, is_due in refusals.items() if is_due]:
            raise ValueError(f"{refused[0]}.")
        _ = self.sampling(), self.second_judge  # refuse values out of range, and half a judge
        check_serve_args(self.serve_words, is_ours=not self.url)
        for model in self.model_id:
            label_of(model)

    @property
    def servers(self) -> list[str]:
        """Addresses of --url."""
        return [part.strip() for part in (self.url or "").split(",") if part.strip()]

    @property
    def serve_words(self) -> list[str]:
        """Arguments of `vllm serve`."""
        return shlex.split(self.serve_args)

    @property
    def api_key(self) -> str | None:
        """Bearer token of the servers."""
        return read_api_key(self.api_key_env)

    @property
    def patience_of_client(self) -> Patience:
        """How long to go on when requests fail."""
        return Patience(self.retries, self.timeout, 2 * self.timeout, self.patience)

    def chosen(self) -> list[Benchmark]:
        """Return the benchmarks that are to be run.

        Raises:
            ValueError: Nothing is named, or what isn't there, or twice.
        """
        shape = {name: getattr(self, name) for name in ("split", "prompt_column", "solution_column", "kind")}
        named = find_benchmarks(self.benchmarks) + find_benchmarks([] if self.data is None else [self.data])
        if not named:
            raise ValueError("Name --benchmarks, or data by --data; --list_benchmarks prints the table.")
        refuse_same_names(named)
        return [
            entry if SUPPORTED_BENCHMARKS.get(entry.name) == entry else local_benchmark(entry.dataset, **shape)
            for entry in named
        ]

    def load(self, benchmark: Benchmark) -> prompts.Problems:
        """Return the problems of a benchmark, as `load_problems`."""
        return prompts.load_problems(
            benchmark,
            template=self.prompt_template,
            system_prompt=self.system_prompt or None,
            limit=self.limit,
            judge=self.judge,
            code=self,
        )

    def samples_of(self, benchmark: Benchmark) -> int:
        """Return how many answers are drawn to a problem of a benchmark.

        Raises:
            ValueError: Seeds of --seed are so near that two runs would share answers.
        """
        k = 1 if self.temperature == 0 else self.num_samples or benchmark.num_samples
        if any(later - seed < k for seed, later in zip(sorted(self.seed), sorted(self.seed)[1:], strict=False)):
            raise ValueError(
                f"Answer i has --seed + i: seeds of runs of {k} answers must be {k} apart, got {self.seed}."
            )
        return k

    def sampling(self, engine: str | None = None, max_model_len: int | None = None) -> Sampling:
        """Return how servers are asked to draw.

        Args:
            engine: What serves. vLLM alone is told what changes nothing, since other servers may refuse fields that
                they don't know.
            max_model_len: Context in tokens; one of at most `DEFAULT_MAX_TOKENS` is left to the server as the limit.
        """
        max_tokens = self.max_tokens
        if max_tokens is None and (max_model_len is None or max_model_len > DEFAULT_MAX_TOKENS):
            max_tokens = DEFAULT_MAX_TOKENS
        found = Sampling(self.temperature, self.top_p, self.top_k, self.min_p, max_tokens, self.seed[0])
        if engine != "vllm":
            return found
        return replace(found, extra_body={name: value for name, value in NEUTRAL.items() if name not in found.body()})

    def of_an_answer(self, problems: prompts.Problems) -> dict[str, Any]:
        """Return what each answer depends on, beside the model and the sampling."""
        benchmark = problems.benchmark
        written = {"choices": {"choices_order_seed": prompts.ORDER_SEED}, "code": {"forms": dict(prompts.FORMS)}}
        return {
            "revision": self.model_revision,
            "source": list(problems.source),
            "prompt_column": benchmark.prompt_column,
            "kind": benchmark.kind,
            "template": self.prompt_template or prompts.template_of(benchmark),
            **written.get(benchmark.kind, {}),
            "system_prompt": self.system_prompt or None,
            "serve_args": self.serve_words,
            "trust_remote_code": self.trust_remote_code,
        }

    def of_the_sampling(self, engine: str | None, max_model_len: int | None) -> dict[str, Any]:
        """Return how answers are drawn, None for what is left to the server, with the context where it limits them."""
        sampling = self.sampling(engine, max_model_len)
        known = dict.fromkeys([*_SAMPLING, *NEUTRAL]) | sampling.body()
        return {**known, "context_tokens": max_model_len if sampling.max_tokens is None else None}

    def folder(self, model: str) -> Path:
        """Return the folder of a model's results; those of a benchmark have a folder each in it."""
        name = label_of(model) if self.model_name is None else _safe(self.model_name)
        return Path(self.output_dir) / name / _as_folder(self.model_revision)


Arguments = TypeVar("Arguments", bound=EvaluationArguments)


def build_parser(description: str | None = None, kind: type[Arguments] = EvaluationArguments) -> Any:
    """Return the parser of the command line of `kind`."""
    from transformers.hf_argparser import HfArgumentParser  # half a second

    kinds = (argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter)
    formatter = type("Formatter", kinds, {})
    return HfArgumentParser(
        kind,
        description=description,
        formatter_class=formatter,
        allow_abbrev=False,
        usage="%(prog)s [flags]; --help lists them",
    )


def parse(
    words: Sequence[str], description: str | None = None, kind: type[Arguments] = EvaluationArguments
) -> Arguments:
    """Return the arguments of a command line; dashes and underscores in flags are the same.

    Raises:
        ValueError: They can't work.
        SystemExit: A flag or its value is unknown.
    """
    parser = build_parser(description, kind)
    return kind(**vars(parser.parse_args(respelled(words, "_"))))


def label_of(model: str) -> str:
    """Return the name of a model in the results: a name on the hub as it is, of a folder the last part.

    >>> label_of("Qwen/Qwen3-8B"), label_of("/data/runs/math/checkpoint-20/")
    ('Qwen/Qwen3-8B', 'math/checkpoint-20')

    Raises:
        ValueError: It has no name, as `/`.
    """
    path = Path(model).expanduser()
    if path.exists():
        path = path.resolve() if ".." in path.parts or not path.name else path.absolute()
    is_on_the_hub = not path.is_absolute() and len(path.parts) < 3
    return _safe(Path(*path.parts[-2 if is_on_the_hub or path.name.startswith("checkpoint-") else -1 :]))


def _safe(name: Path | str) -> str:
    parts = [_as_folder(part) for part in Path(name).parts if part not in ("/", ".", "..", "~")]
    if not parts:
        raise ValueError(f"The model {str(name)!r} has no name for its results: give one by --model_name.")
    return "/".join(parts)


def _as_folder(name: str) -> str:
    return re.sub(r"[^\w.=-]+", "_", name)
