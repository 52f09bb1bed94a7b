# SPDX-License-Identifier: Apache-2.0
"""The command line of `scripts/test_time_compute.py`, and the settings that it comes to."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from open_r1.data.cli import read_api_key
from open_r1.evaluation.benchmarks import AUTO, KINDS, Benchmark
from open_r1.sandbox.providers import PROVIDERS
from open_r1.test_time.methods import AUTO as AUTO_BUDGET
from open_r1.test_time.methods import METHODS, MethodOptions

if TYPE_CHECKING:
    from open_r1.evaluation.settings import EvaluationArguments
    from open_r1.generation.client import Patience
    from open_r1.test_time.settings import RunSettings

_OWN = MethodOptions()  # the home of methods' defaults


def _budget(word: str) -> int | str:
    if word == AUTO_BUDGET:
        return word
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"{word!r} is no number of tokens, at least 0, and not auto")
    return int(word)


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the model."""
    add = parser.add_argument_group("model").add_argument
    add("--model_id", metavar="MODEL", help="folder, or name on the hub (default: what the server of --url serves)")
    add("--model_revision", default="main", help="branch, tag or commit on the hub (default: %(default)s)")
    add("--model_name", metavar="NAME", help="name in the results (default: that of the model, or of its folder)")
    add("--trust_remote_code", action="store_true", help="run code that comes with the model (default: no)")
    add(
        "--backend",
        default="auto",
        choices=("auto", "vllm", "transformers", "openai"),
        help="auto: openai with --url, else vllm if it is installed, else transformers (default: auto)",
    )
    add(
        "--dtype",
        choices=("auto", "bfloat16", "float16", "float32"),
        help="of the weights (default: auto in vLLM; in transformers bfloat16 on a GPU, else float32)",
    )
    add(
        "--max_model_len",
        type=int,
        metavar="TOKENS",
        help="context, prompt included, at most the model's, or the servers' (default: that)",
    )
    add("--batch_size", type=int, metavar="N", help="sequences at a time (default: 16 of transformers, else 256)")
    add("--tensor_parallel_size", type=int, default=1, metavar="N", help="GPUs of vLLM (default: %(default)s)")
    add("--gpu_memory_utilization", type=float, default=0.9, help="share for vLLM (default: %(default)s)")
    add("--enforce_eager", action="store_true", help="start vLLM sooner, without compiling (default: no)")
    add = parser.add_argument_group("servers").add_argument
    add(
        "--url",
        metavar="ADDRESS",
        help="host:port or URL of servers that give token ids back, several by commas (default: none, --backend loads "
        "the model)",
    )
    add("--served_model", metavar="NAME", help="name to ask the servers for (default: the one that they serve)")
    add("--api_key_env", metavar="VARIABLE", help="environment variable with the API key (default: no key)")
    add("--wait_s", type=float, default=0.0, help="seconds to wait for the first server (default: %(default)g)")
    add("--timeout", type=float, default=7200.0, metavar="S", help="seconds for one completion (default: %(default)g)")
    add(
        "--patience",
        type=float,
        default=600.0,
        metavar="S",
        help="seconds without any server, then it stops (default: %(default)g)",
    )


def add_problem_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the problems."""
    add = parser.add_argument_group("problems").add_argument
    add(
        "--benchmark",
        dest="benchmarks",
        nargs=1,
        default=[],
        metavar="NAME",
        help="of the table that run_benchmarks.py --list_benchmarks prints, or a local file, as of --data (default: "
        "--data)",
    )
    add("--data", type=Path, metavar="FILE", help="local JSON lines, parquet, csv or folder (default: --benchmark)")
    add("--prompt_column", default="problem", metavar="COLUMN", help="problems of local files (default: %(default)s)")
    add(
        "--solution_column",
        default="solution",
        metavar="COLUMN",
        help="gold answers, worked solutions or right choices of local files (default: %(default)s)",
    )
    add(
        "--kind",
        default=AUTO,
        choices=(AUTO, *KINDS),
        help="of local files: math has gold answers; choices a column `choices`, or those of GPQA; code tests "
        "(default: what the columns say)",
    )
    add("--split", default="train", help="split of local files, or a slice such as train[:100] (default: %(default)s)")
    add("--limit", type=int, metavar="ROWS", help="the first so many problems (default: all)")
    add("--system_prompt", metavar="TEXT", help="first message of each conversation (default: none)")
    add(
        "--prompt_template",
        metavar="TEXT",
        help="with {prompt}, which alone is replaced (default: asks for steps, and for a boxed answer, a boxed letter "
        "or a block of code)",
    )
    add("--output_dir", type=Path, default=Path("test_time_results"), metavar="FOLDER", help="default: %(default)s")
    add("--overwrite", action="store_true", help="put aside what is there, and begin anew (default: go on)")


def add_sandbox_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the sandbox that judges programs."""
    group = parser.add_argument_group("programs, of benchmarks of code; names as in recipes")
    add = group.add_argument
    add(
        "--code_provider",
        default="local",
        choices=PROVIDERS,
        help="the sandbox: local needs no key; piston PISTON_ENDPOINTS; e2b E2B_API_KEY; morph MORPH_API_KEY; fusion "
        "SANDBOX_FUSION_URL; router --sandbox_router_url (default: %(default)s)",
    )
    add(
        "--sandbox_router_url",
        metavar="ADDRESS",
        help="host:port or URL of a router, of router, e2b or morph (default: none)",
    )
    add(
        "--sandbox_router_token_env",
        metavar="VARIABLE",
        help="environment variable with the router's token (default: SANDBOX_ROUTER_TOKEN, if it's set)",
    )
    add(
        "--sandbox_patience_s",
        type=float,
        default=120.0,
        metavar="S",
        help="router, piston: seconds that a program waits while nobody answers (default: %(default)g)",
    )
    add(
        "--sandbox_python",
        metavar="FILE",
        help="local: interpreter for the programs (default: this one or the system's, by a probe)",
    )
    add(
        "--parallel_code_exec_per_proc",
        type=int,
        metavar="N",
        help="programs judged at a time (default: as many as this process has cores)",
    )
    add(
        "--code_test_timeout_s",
        type=float,
        default=6.0,
        metavar="S",
        help="CPU seconds of a test (default: %(default)g)",
    )
    add(
        "--code_memory_mb",
        type=int,
        default=2048,
        metavar="MIB",
        help="memory of a test (default: %(default)s)",
    )


def add_method_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the methods."""
    add = parser.add_argument_group("methods").add_argument
    add(
        "--methods",
        "--method",
        nargs="+",
        default=["greedy", "budget_forcing"],
        choices=list(METHODS),
        metavar="METHOD",
        help=f"{', '.join(METHODS)} (default: greedy budget_forcing)",
    )
    add("--temperature", type=float, help="default: 0 of budget_forcing, 0.8 of methods that sample; greedy has 0")
    add("--top_p", type=float, default=_OWN.top_p, help="above 0, at most 1 (default: %(default)g)")
    add(
        "--max_tokens",
        type=int,
        help="of a candidate, or of an answer after its thinking (default: what the context leaves)",
    )
    add(
        "--num_repeats",
        type=int,
        default=1,
        metavar="N",
        help="each problem N times with other seeds, where a method samples (default: %(default)s)",
    )
    add(
        "--seed",
        type=int,
        default=0,
        help="of the first candidate, the next have seed + 1, ... (default: %(default)s)",
    )
    add = parser.add_argument_group("budget_forcing").add_argument
    add(
        "--budgets",
        nargs="+",
        type=_budget,
        default=list(_OWN.budgets),
        metavar="TOKENS",
        help="most thinking tokens, several; auto: what the context leaves (default: auto)",
    )
    add(
        "--num_waits",
        nargs="+",
        type=int,
        default=list(_OWN.num_waits),
        metavar="N",
        help='how often the end of thinking is replaced by "Wait", several (default: 0)',
    )
    add("--thinking_start", metavar="TEXT", help="opens the thinking (default: found in the tokenizer's template)")
    add("--thinking_end", metavar="TEXT", help="ends it (default: likewise)")
    add(
        "--answer_reserve_tokens",
        type=int,
        default=_OWN.answer_reserve_tokens,
        metavar="N",
        help="what budgets leave of the context for the answer (default: %(default)s)",
    )


def add_candidate_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of methods that choose among candidates."""
    add = parser.add_argument_group("candidates").add_argument
    numbers = " ".join(map(str, _OWN.n))
    add(
        "--n",
        nargs="+",
        type=int,
        default=list(_OWN.n),
        help="numbers of candidates, several, of one pool as large as the largest; searches take the multiples of "
        f"--beam_width (default: {numbers})",
    )
    add(
        "--scorer",
        metavar="NAME",
        help="who scores candidates: a process reward model or reward model (folder, or id on the hub), "
        "path/to/file.py:function, or oracle, the upper bound (default: nobody; majority needs none); "
        "models share the first GPU with vLLM: lower --gpu_memory_utilization by what they need",
    )
    add(
        "--scorer_kind",
        default="auto",
        choices=("auto", "qwen", "math_shepherd", "rlhflow", "skywork", "outcome"),
        help="how that model scores (default: auto, by its configuration and name)",
    )
    add(
        "--aggregations",
        nargs="+",
        default=list(_OWN.aggregations),
        metavar="NAME",
        help="how scores of steps become one: min, last, avg, product; several (default: last)",
    )
    add(
        "--choices",
        nargs="+",
        default=list(_OWN.choices),
        metavar="NAME",
        help="how a candidate is chosen by score: max, vote (default: both)",
    )
    add(
        "--beam_width",
        type=int,
        default=_OWN.beam_width,
        metavar="N",
        help="continuations of a beam (default: %(default)s)",
    )
    add(
        "--max_steps",
        type=int,
        default=_OWN.max_steps,
        metavar="N",
        help="most steps of a search (default: %(default)s)",
    )
    add(
        "--max_step_tokens",
        type=int,
        default=_OWN.max_step_tokens,
        metavar="N",
        help="of a step of a search (default: %(default)s)",
    )
    add(
        "--lookahead",
        type=int,
        default=_OWN.lookahead,
        metavar="STEPS",
        help="steps gone on greedily before a step of a search is scored (default: %(default)s)",
    )
    add("--step_separator", default="\\n\\n", metavar="TEXT", help=r"ends a step (default: %(default)s)")


def run_settings(args: argparse.Namespace) -> "RunSettings":
    """Return the settings of a command line.

    Raises:
        ValueError: They can't work.
    """
    # Imported here: aiohttp and arrow take most of a second, which --help needn't.
    from open_r1.evaluation.settings import EvaluationArguments
    from open_r1.test_time.backends import BackendSettings, Model
    from open_r1.test_time.settings import RunSettings

    servers = [part.strip() for part in (args.url or "").split(",") if part.strip()]
    model = (
        None
        if args.model_id is None
        else Model(
            str(Path(args.model_id).expanduser()) if Path(args.model_id).expanduser().exists() else args.model_id,
            args.model_revision,
            args.dtype,
            args.trust_remote_code,
            args.max_model_len,
        )
    )
    backend = BackendSettings(
        backend=args.backend,
        model=model,
        servers=servers,
        served_model=args.served_model,
        api_key=read_api_key(args.api_key_env),
        patience=_patience(args),
        wait_s=args.wait_s,
        batch_size=args.batch_size,
        tensor_parallel_size=args.tensor_parallel_size,
        gpu_memory_utilization=args.gpu_memory_utilization,
        enforce_eager=args.enforce_eager,
        max_model_len=args.max_model_len,
    )
    names = ("model_revision", "model_name", "url", "served_model", "trust_remote_code", "system_prompt",
             "prompt_template", "limit", "benchmarks", "kind", "split", "prompt_column", "solution_column",
             "code_provider", "sandbox_router_url", "sandbox_router_token_env", "sandbox_patience_s", "sandbox_python",
             "parallel_code_exec_per_proc", "code_test_timeout_s", "code_memory_mb")  # fmt: skip
    evaluation = EvaluationArguments(
        model_id=[] if args.model_id is None else [args.model_id],
        output_dir=str(args.output_dir),
        data=None if args.data is None else str(args.data),
        **{name: getattr(args, name) for name in names},
    )
    return RunSettings(
        _benchmark(args, evaluation),
        evaluation,
        backend,
        tuple(args.methods),
        _options(args),
        args.num_repeats,
        args.seed,
        args.overwrite,
    )


def _patience(args: argparse.Namespace) -> "Patience":
    from open_r1.generation.client import Patience

    return Patience(timeout_s=args.timeout, deadline_s=2 * args.timeout, outage_s=args.patience)


def _options(args: argparse.Namespace) -> MethodOptions:
    if args.max_tokens is not None and args.max_tokens < 1:
        raise ValueError(f"max_tokens is {args.max_tokens}; it must be at least 1.")
    if not 0 < args.top_p <= 1 or not 0 <= (args.temperature or 0) <= 2:
        raise ValueError(
            f"temperature is {args.temperature} and top_p {args.top_p}: allowed are 0 to 2, and above 0 to 1."
        )
    return MethodOptions(
        budgets=tuple(args.budgets),
        num_waits=tuple(args.num_waits),
        n=tuple(args.n),
        beam_width=args.beam_width,
        max_steps=args.max_steps,
        step_separator=args.step_separator.replace("\\n", "\n"),
        max_step_tokens=args.max_step_tokens,
        lookahead=args.lookahead,
        scorer=args.scorer,
        scorer_kind=args.scorer_kind,
        aggregations=tuple(args.aggregations),
        choices=tuple(args.choices),
        temperature=args.temperature,
        top_p=args.top_p,
        max_tokens=args.max_tokens,
        thinking_start=args.thinking_start,
        thinking_end=args.thinking_end,
        answer_reserve_tokens=args.answer_reserve_tokens,
    )


def _benchmark(args: argparse.Namespace, evaluation: "EvaluationArguments") -> Benchmark:
    if bool(args.benchmarks) == (args.data is not None):
        raise ValueError("Name a --benchmark, or a local file by --data: one of the two.")
    found = evaluation.chosen()
    if len(found) > 1:
        raise ValueError(f"--benchmark {args.benchmarks[0]} is {len(found)} benchmarks: name one a command.")
    return found[0]
