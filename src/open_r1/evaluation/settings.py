# SPDX-License-Identifier: Apache-2.0
"""Arguments of `scripts/run_benchmarks.py`: one dataclass for the flags, their defaults, and what answers depend on.

EvaluationArguments(model_id=["data/grpo"], data="sums.jsonl", temperature=0.6, num_samples=4)
settings.json  {"settings": {"temperature": 0.6, "source": [...], "template": "...", ...}, "runs": [...]}
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from open_r1.configs.fields import setting
from open_r1.configs.rewards import CodeExecutionParameters
from open_r1.data.cli import FlagHelp, read_api_key, respelled
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
        "Models to evaluate: folders or hub names, checkpoints included. Default: the model that --url serves.",
    )
    model_revision: str = setting("main", "Branch, tag or commit on the hub.")
    model_name: str | None = setting(
        None, "Name in the results. Default: the model's hub name, or the name of its folder."
    )
    trust_remote_code: bool = setting(
        False,
        "Run code from the model's repository, in `vllm serve` or in this process; recorded for --url.",
    )
    system_prompt: str | None = setting(None, "First message of each conversation.")
    prompt_template: str | None = setting(
        None,
        "Prompt with {prompt} as its only placeholder. Default: asks for step-by-step reasoning and a boxed"
        " answer, a boxed letter or a code block, by the kind of benchmark.",
    )
    benchmarks: list[str] = setting(
        [],
        "Names from --list_benchmarks, `all` of them, hub data sets (owner/name) or local files, separated "
        "by spaces or commas.",
        action="extend",
    )
    list_benchmarks: bool = setting(False, "Print the table of benchmarks and exit.")
    data: str | None = setting(None, "Problems of your own: JSON lines, parquet, csv, a folder, or a hub data set.")
    kind: Literal["auto", "math", "choices", "code"] = setting(
        AUTO,
        "How --data is judged. math: gold answers. choices: a column `choices`, or GPQA's columns. code: "
        "tests in verification_info or LiveCodeBench's columns. auto: decided by the columns.",
    )
    prompt_column: str = setting("problem", "Column of --data with the problem.")
    solution_column: str = setting(
        "solution", "Column of --data with the gold answer, worked solution or right choice."
    )
    split: str = setting("train", "Split of --data, or a slice such as train[:100].")
    limit: int | None = setting(None, "Evaluate only the first LIMIT problems.")
    judge: str | None = setting(
        None,
        "Reward that replaces the benchmark's judge: a name from the reward table, or file.py:function, "
        "called with the completions and all columns; returns a score from 0 to 1 per completion, or None.",
    )
    judge_again: bool = setting(False, "Judge the stored answers again, without asking the model.")
    output_dir: str = setting("eval_results", "Folder for the results.")
    overwrite: bool = setting(False, "Rename the folder of earlier answers and start over.")
    run_id: str | None = setting(
        None, "Name shared by the attempts of a requeued job: --overwrite keeps what an earlier attempt has answered."
    )
    slurm: bool = setting(False, "Submit slurm/evaluate.slurm with these settings instead of running here.")
    backend: Literal["auto", "vllm", "transformers"] = setting(
        "auto",
        "Engine for --model_id: vllm starts `vllm serve`, transformers runs in this process, auto is vllm "
        "where installed.",
    )
    url: str | None = setting(
        None, "Running servers to use instead of --backend: host:port or URL, separated by commas."
    )
    served_model: str | None = setting(
        None, "Model name in requests to --url. Default: the one model that the servers list."
    )
    serve_args: str = setting(
        "",
        "For `vllm serve`, as a shell splits them: --serve_args='--data-parallel-size 8 --dtype half'; with --url, "
        "those that its servers were started with: other ones are another run.",
        metavar="WORDS",
    )
    model_commit: str | None = setting(
        None, "Commit that the servers of --url have loaded. Default: the hub's current commit of --model_revision."
    )
    served_with: str = setting("", "Command line of the servers of --url, recorded with the results.")
    api_key_env: str | None = setting(None, "Environment variable that holds the API key.")
    wait_s: float = setting(0.0, "Seconds to wait until a server answers.")
    max_concurrent: int = setting(256, "Concurrent requests.")
    retries: int = setting(9, "Retries of a failed request.")
    # So many tokens take 6,600 s at the 5 tokens/s that a server with many requests in flight may give to each.
    timeout: float = setting(7200.0, "Timeout of one request, in seconds.")
    patience: float = setting(600.0, "Seconds without a reachable server before the run stops.")
    num_samples: int | None = setting(
        None, "Answers per problem. Default: the benchmark's number, 4 for other data, 1 at temperature 0."
    )
    temperature: float = setting(0.6, "Sampling temperature, 0 to 2.")
    top_p: float = setting(0.95, "Nucleus sampling: above 0, at most 1.")
    top_k: int | None = setting(
        None, "Sample from the k likeliest tokens. Default: all tokens under vLLM, else the server's default."
    )
    min_p: float | None = setting(
        None, "Minimum probability relative to the likeliest token. Default: as for --top_k, none."
    )
    max_tokens: int | None = setting(
        None, f"Of one answer, reasoning included; by default {DEFAULT_MAX_TOKENS}, or what the context leaves."
    )
    seed: list[int] = setting(
        [0], "Seed of the first answer to a problem; answer i uses seed + i. Several seeds make several runs."
    )
    code_test_timeout_s: float = setting(6.0, "CPU seconds per test, as in LiveCodeBench's own judge.")
    code_memory_mb: int = setting(2048, "Memory per test in MiB.")

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

    return HfArgumentParser(
        kind,
        description=description,
        formatter_class=FlagHelp,
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
