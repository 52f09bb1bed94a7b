# SPDX-License-Identifier: Apache-2.0
"""The command line of `scripts/run_benchmarks.py`: its flags, and the settings that they come to."""

import argparse
import math
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from open_r1.data.benchmarks import AUTO, KINDS, benchmark_names
from open_r1.data.flags import WORDS, FlagParser, JoinWords, read_api_key
from open_r1.evaluation.defaults import ANSWER_TIMEOUT_S, BACKENDS, DEFAULT_MAX_TOKENS, PROGRAM_LIMITS
from open_r1.sandbox.providers import PROVIDERS, ROUTER_PROVIDERS

if TYPE_CHECKING:
    from open_r1.evaluation.settings import EvaluationSettings
    from open_r1.generation.client import Patience
    from open_r1.sandbox import Limits
    from open_r1.sandbox.providers import SandboxSettings

_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")
_PARALLEL = {"data": "--data-parallel-size", "tensor": "--tensor-parallel-size"}


def _truth(word: str) -> bool:
    if word.lower() not in (*_YES, *_NO):
        raise argparse.ArgumentTypeError(f"{word!r} is neither true nor false")
    return word.lower() in _YES


def build_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = FlagParser(description=description)
    add_what_flags(parser)
    add_asking_flags(parser)
    return parser


def add_what_flags(parser: argparse.ArgumentParser) -> None:
    """Add the model, the benchmarks, and where results go."""
    group = parser.add_argument_group("model")
    add = group.add_argument
    add("--model_id", metavar="MODEL", help="folder, or name on the hub (default: what the servers of --url serve)")
    add("--model_revision", default="main", help="branch, tag or commit on the hub (default: %(default)s)")
    add("--model_name", metavar="NAME", help="name in the results (default: that of the model, or of its folder)")
    add(
        "--trust_remote_code",
        type=_truth,
        nargs="?",
        const=True,
        default=False,
        metavar="true|false",
        help="run code from the repository: in `vllm serve`, or with transformers in this very process; or --url's "
        "servers do (default: false)",
    )
    add("--system_prompt", metavar="TEXT", help="first message of each conversation (default: none)")
    add(
        "--prompt_template",
        metavar="TEXT",
        help="with {prompt}, which alone is replaced (default: asks for steps, and for a boxed answer, a boxed letter "
        "or a block of code)",
    )
    group = parser.add_argument_group("benchmarks")
    add = group.add_argument
    known = ", ".join(benchmark_names())
    add(
        "--benchmarks",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help=f"{known}; `all` of these; or local files, as of --data; several by spaces or commas",
    )
    add("--list_benchmarks", action="store_true", help="print the table of benchmarks, and nothing else")
    add("--data", type=Path, metavar="FILE", help="local JSON lines, parquet, csv or folder, of any of the kinds")
    add(
        "--kind",
        default=AUTO,
        choices=[AUTO, *KINDS],
        help="of local files: math has gold answers; choices a column `choices`, or those of GPQA; code tests, "
        "as of verification_info or LiveCodeBench (default: what the columns say)",
    )
    add("--prompt_column", default="problem", metavar="COLUMN", help="problems of local files (default: %(default)s)")
    add(
        "--solution_column",
        default="solution",
        metavar="COLUMN",
        help="gold answers, worked solutions or right choices of local files (default: %(default)s)",
    )
    add("--split", default="train", help="split of local files, or a slice such as train[:100] (default: %(default)s)")
    add("--limit", type=int, metavar="ROWS", help="the first so many problems (default: all)")
    group = parser.add_argument_group("results")
    add = group.add_argument
    add("--output_dir", type=Path, default=Path("eval_results"), metavar="FOLDER", help="default: %(default)s")
    add(
        "--overwrite",
        action="store_true",
        help="begin anew where there are finished results, or answers of other settings; these are put aside",
    )
    add(
        "--run_id",
        metavar="NAME",
        help="of jobs that are requeued: --overwrite leaves what a run of that name has finished",
    )
    add("--slurm", action="store_true", help="submit slurm/evaluate.slurm with these settings instead of running")


def add_asking_flags(parser: argparse.ArgumentParser) -> None:
    """Add who is asked, and how answers are drawn."""
    group = parser.add_argument_group("servers")
    add = group.add_argument
    add(
        "--backend",
        default="auto",
        choices=BACKENDS,
        help="what serves --model_id without --url: `vllm serve`, or transformers in this process; auto: vllm where "
        "it is installed (default: %(default)s)",
    )
    add(
        "--parallel",
        choices=list(_PARALLEL),
        help="of vLLM: copies of the model (data), or one that is spread (tensor), over --num_gpus (default: one GPU)",
    )
    add("--num_gpus", type=int, metavar="N", help="GPUs of --parallel")
    add("--url", metavar="ADDRESS", help="host:port or URL, several by commas (default: --backend serves)")
    add("--served_model", metavar="NAME", help="name to ask the servers for (default: the one that they serve)")
    add(
        "--serve_args",
        action=JoinWords,
        default="",
        metavar=WORDS,
        help="for `vllm serve`, as a shell splits them: '--data-parallel-size 8 --dtype bfloat16'; with --url, those "
        "that its servers were started with: other ones are another run",
    )
    add(
        "--model_commit",
        metavar="COMMIT",
        help="with --url, what its servers have loaded (default: --model_revision on the hub now)",
    )
    add(
        "--served_with",
        default="",
        metavar="WORDS",
        help="with --url, the whole command line of its servers, for the record",
    )
    add("--api_key_env", metavar="VARIABLE", help="environment variable with the API key (default: no key)")
    add("--wait_s", type=float, default=0.0, help="seconds to wait for the first server (default: %(default)g)")
    add("--max_concurrent", type=int, default=256, metavar="N", help="requests in flight (default: %(default)s)")
    add("--retries", type=int, default=9, help="how often a failed request is sent again (default: %(default)s)")
    add(
        "--timeout",
        type=float,
        default=ANSWER_TIMEOUT_S,
        metavar="S",
        help="seconds for one answer (default: %(default)g)",
    )
    add(
        "--patience",
        type=float,
        default=600.0,
        metavar="S",
        help="seconds without any server, then it stops (default: %(default)g)",
    )
    add_sandbox_flags(parser)
    group = parser.add_argument_group("sampling")
    add = group.add_argument
    add(
        "--num_samples",
        type=int,
        metavar="K",
        help="answers a problem (default: the benchmark's, of local files 4; 1 at temperature 0)",
    )
    add("--temperature", type=float, default=0.6, help="0 to 2 (default: %(default)s)")
    add("--top_p", type=float, default=0.95, help="above 0, at most 1 (default: %(default)s)")
    add("--top_k", type=int, help="default: all tokens, unless a server of --url that isn't vLLM says otherwise")
    add("--min_p", type=float, help="default: likewise none")
    add(
        "--max_tokens",
        type=int,
        help=f"of one answer, reasoning included (default: {DEFAULT_MAX_TOKENS}, or what the context leaves)",
    )
    add(
        "--seed",
        type=int,
        default=0,
        help="of the first answer to a problem, the next have seed + 1, ... (default: %(default)s)",
    )


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
        default=PROGRAM_LIMITS.cpu_s,
        metavar="S",
        help="CPU seconds of a test (default: %(default)g)",
    )
    add(
        "--code_memory_mb",
        type=int,
        default=PROGRAM_LIMITS.memory_mb,
        metavar="MIB",
        help="memory of a test (default: %(default)s)",
    )


def settings_of(args: argparse.Namespace) -> "EvaluationSettings":
    """Return the settings of a command line.

    Raises:
        ValueError: They can't work.
    """
    # Imported here: arrow and aiohttp take most of a second, which --help needn't.
    from open_r1.evaluation.settings import EvaluationSettings
    from open_r1.generation.messages import Sampling

    sandbox, limits = sandbox_of(args)
    return EvaluationSettings(
        model=args.model_id,
        revision=args.model_revision,
        model_name=args.model_name,
        output_dir=args.output_dir,
        commit=args.model_commit,
        servers=[part.strip() for part in (args.url or "").split(",") if part.strip()],
        served_model=args.served_model,
        backend=args.backend,
        serve_args=_serve_args(args),
        trust_remote_code=args.trust_remote_code,
        served_with=shlex.split(args.served_with),
        system_prompt=args.system_prompt or None,
        template=args.prompt_template,
        sampling=Sampling(args.temperature, args.top_p, args.top_k, args.min_p, args.max_tokens, args.seed),
        num_samples=args.num_samples,
        limit=args.limit,
        max_concurrent=args.max_concurrent,
        wait_s=args.wait_s,
        patience=_patience_of(args),
        api_key=read_api_key(args.api_key_env),
        overwrite=args.overwrite,
        run_id=args.run_id,
        sandbox=sandbox,
        limits=limits,
    )


def _patience_of(args: argparse.Namespace) -> "Patience":
    from open_r1.generation.client import Patience

    if args.retries < 0:
        raise ValueError(f"--retries is {args.retries}; it must be at least 0.")
    for name in ("timeout", "patience"):
        value = getattr(args, name)
        if not 0 < value < math.inf:
            raise ValueError(f"--{name} is {value:g}; it must be above 0, and finite.")
    return Patience(args.retries, args.timeout, 2 * args.timeout, args.patience)


def sandbox_of(args: argparse.Namespace) -> "tuple[SandboxSettings, Limits]":
    """Return the sandbox of programs, and the limits of each of their tests.

    Raises:
        ValueError: They contradict each other.
    """
    from open_r1.sandbox import Limits
    from open_r1.sandbox.providers import SandboxSettings

    num_parallel = args.parallel_code_exec_per_proc
    if num_parallel is None:
        num_parallel = len(os.sched_getaffinity(0))
    if num_parallel < 1:
        raise ValueError(f"--parallel_code_exec_per_proc is {num_parallel}; it must be at least 1.")
    url, provider = args.sandbox_router_url, args.code_provider
    if url is not None and provider not in ROUTER_PROVIDERS:
        raise ValueError(f"--sandbox_router_url is of a router, but --code_provider is {provider}.")
    if provider == "router" and url is None:
        raise ValueError("--code_provider router needs --sandbox_router_url: host:port or URL of the router.")
    if args.sandbox_python is not None and provider != "local":
        raise ValueError(f"--sandbox_python is of local boxes, but --code_provider is {provider}.")
    sandbox = SandboxSettings(
        provider,
        num_parallel,
        router_url=url,
        router_token_env=args.sandbox_router_token_env,
        patience_s=args.sandbox_patience_s,
        python=args.sandbox_python,
    )
    return sandbox, Limits(cpu_s=args.code_test_timeout_s, memory_mb=args.code_memory_mb)


def _serve_args(args: argparse.Namespace) -> list[str]:
    words = shlex.split(args.serve_args)
    if (args.parallel is None) != (args.num_gpus is None):
        raise ValueError(
            "--parallel data|tensor and --num_gpus N go together: how the model uses the GPUs, and how many."
        )
    if args.parallel is None:
        return words
    if args.num_gpus < 1:
        raise ValueError(f"--num_gpus is {args.num_gpus}; it must be at least 1.")
    if args.url is not None:
        raise ValueError("--parallel is for a server that is started here; the servers of --url are there already.")
    return [_PARALLEL[args.parallel], str(args.num_gpus), *words]
