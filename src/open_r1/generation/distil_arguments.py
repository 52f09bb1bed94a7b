# SPDX-License-Identifier: Apache-2.0
"""The command line of `generate.py`: upstream's flags, and those for local output, resume and a server of our own."""

import argparse
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError

from open_r1.data.flags import FlagParser, respelled
from open_r1.generation.distil import DEFAULT_TIMEOUT_S
from open_r1.generation.requests import Sampling
from open_r1.generation.servers import DEFAULT_DEADLINE_S

_PROBE = "<the prompt>"
_BATCHES_OF_A_SHARD = 4  # of each replica: starting distilabel takes about 8 s, an interrupted shard is asked anew


def parse_args(argv: list[str] | None, description: str) -> argparse.Namespace:
    """Return the command-line arguments, complete and checked.

    Raises:
        SystemExit: An argument is unknown, malformed or out of range.
    """
    parser = FlagParser(description=description)
    _add_data(parser)
    _add_model(parser)
    _add_running(parser)
    args = parser.parse_args(respelled(sys.argv[1:] if argv is None else argv, "-"))
    try:
        _check(args)
        args.output_dir = (args.output_dir or Path("data") / f"{_short_name(args.hf_dataset)}_generated").expanduser()
    except (ValueError, RuntimeError) as error:  # the latter: of a home folder that there is not
        parser.error(str(error))
    args.shard_size = args.shard_size or (
        _BATCHES_OF_A_SHARD * args.input_batch_size * args.client_replicas * args.num_generations
    )
    return args


def _add_data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("rows").add_argument
    add(
        "--hf-dataset",
        required=True,
        metavar="NAME",
        help="local parquet, jsonl, json, csv or tsv file, local folder, tasks/<name>, or name on the hub",
    )
    add("--hf-dataset-config", metavar="CONFIG", help="its configuration (default: its only one)")
    add("--hf-dataset-split", default="train", metavar="SPLIT", help="split, or a slice of it (default: %(default)s)")
    add("--prompt-column", default="prompt", metavar="COLUMN", help="column with the prompt (default: %(default)s)")
    add(
        "--prompt-template",
        default="{{ instruction }}",
        metavar="TEMPLATE",
        help="Jinja template that shows the prompt as {{ instruction }} (default: the prompt itself)",
    )
    add("--system-prompt", metavar="TEXT", help="system message (default: none)")
    add("--drop-columns", nargs="+", default=[], metavar="COLUMN", help="columns that the result does not get")
    add("--licence", help="of the output (default: that of the data set, if known)")
    add("--output-dir", type=Path, metavar="FOLDER", help="where the rows go (default: data/<name>_generated)")
    add("--hf-output-dataset", metavar="NAME", help="push the result to this name on the hub (default: no push)")
    privacy = parser.add_mutually_exclusive_group()
    privacy.add_argument("--private", action="store_true", help="the pushed data set is private: the default")
    privacy.add_argument("--public", action="store_true", help="the pushed data set is public")


def _add_model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("model and server").add_argument
    add("--model", required=True, help="name of the model as the server knows it; with --serve: name or folder")
    add(
        "--vllm-server-url",
        default="http://localhost:8000/v1",
        metavar="URL",
        help="any OpenAI-compatible server (default: %(default)s)",
    )
    add(
        "--api-key-env",
        default="OPENAI_API_KEY",
        metavar="VARIABLE",
        help="environment variable with the server's key (default: %(default)s; no key if it is not set)",
    )
    add("--wait-s", type=float, default=0.0, metavar="S", help="wait so long for a server to answer (default: 0)")
    add("--serve", action="store_true", help="start `vllm serve` here, on a free port, and stop it at the end")
    add(
        "--serve-args",
        default="",
        metavar="TEXT",
        type=shlex.split,
        help="arguments for `vllm serve`, as one text: --serve-args='--tensor-parallel-size 2'",
    )
    add(
        "--serve-deadline-s",
        type=float,
        default=DEFAULT_DEADLINE_S,
        metavar="S",
        help="the longest that vLLM may take to be ready (default: %(default).0f)",
    )
    add("--vllm", type=Path, metavar="PATH", help="the vllm executable (default: looked for)")
    add("--temperature", type=float, metavar="X", help="0 to 2 (default: the server's, for the model)")
    add("--top-p", type=float, metavar="X", help="above 0, at most 1 (default: the server's, for the model)")
    add(
        "--max-new-tokens",
        "--max-tokens",
        type=int,
        default=8192,
        metavar="N",
        help="of a generation (default: %(default)s)",
    )
    add("--num-generations", type=int, default=1, metavar="N", help="for each row (default: %(default)s)")


def _add_running(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("running").add_argument
    add(
        "--input-batch-size",
        type=int,
        default=64,
        metavar="N",
        help="rows that a replica asks for at a time (default: %(default)s)",
    )
    add("--client-replicas", type=int, default=1, metavar="N", help="processes that ask (default: %(default)s)")
    add("--timeout", type=int, default=DEFAULT_TIMEOUT_S, metavar="S", help="for a request (default: %(default)s)")
    add(
        "--retries",
        type=int,
        default=0,
        metavar="N",
        help="of a request by the client, beside two more tries with its shard (default: %(default)s)",
    )
    add(
        "--shard-size",
        type=int,
        metavar="N",
        help=f"generations that are asked for, and kept, together (default: {_BATCHES_OF_A_SHARD} batches of each "
        "replica)",
    )
    add("--ray", action="store_true", help='run distilabel on Ray (needs `pip install "ray[default]"`)')
    add("--retry-errors", action="store_true", help="ask again for all that failed, in a finished output too")
    add("--overwrite", action="store_true", help="replace an output that was made with other settings")


def _check(args: argparse.Namespace) -> None:
    for name in ("num_generations", "input_batch_size", "client_replicas", "timeout", "shard_size"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    if args.retries < 0 or args.wait_s < 0 or args.serve_deadline_s <= 0:
        raise ValueError("--retries and --wait-s must be 0 or more, --serve-deadline-s above 0")
    _check_template(args.prompt_template)
    if args.serve_args and not args.serve:
        raise ValueError("--serve-args is for --serve")
    build_sampling(args)
    extras = {"distilabel": "make install EXTRAS=generate"} | (
        {"ray": 'pip install "ray[default]"'} if args.ray else {}
    )
    for package, command in extras.items():
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"{package} is not installed: `{command}`")


def _check_template(template: str) -> None:
    try:
        shown = Template(template, undefined=StrictUndefined).render(instruction=_PROBE)
    except TemplateError as error:
        raise ValueError(f"--prompt-template is no Jinja template over `instruction`: {error}") from error
    if _PROBE not in shown:
        raise ValueError(f"--prompt-template must show {{{{ instruction }}}}, got {template!r}")


def build_sampling(args: argparse.Namespace) -> Sampling:
    """Return how completions are drawn.

    Raises:
        ValueError: A value is out of range.
    """
    return Sampling(temperature=args.temperature, top_p=args.top_p, max_tokens=args.max_new_tokens)


def pipeline_settings(args: argparse.Namespace, base_url: str, model: str) -> dict[str, Any]:
    """Return the arguments of `build_distilabel_pipeline` for the rows of a shard, which are one generation each."""
    return {
        "model": model,
        "base_url": base_url,
        "prompt_template": args.prompt_template,
        "temperature": args.temperature,
        "top_p": args.top_p,
        "max_new_tokens": args.max_new_tokens,
        "num_generations": 1,
        "input_batch_size": args.input_batch_size * args.num_generations,
        "client_replicas": args.client_replicas,
        "timeout": args.timeout,
        "retries": args.retries,
        "system_prompt": args.system_prompt,
        "use_ray": args.ray,
    }


def deciding_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what decides the generations, beside the rows: a resume with other values is refused."""
    names = (
        "model",
        "prompt_column",
        "prompt_template",
        "system_prompt",
        "temperature",
        "top_p",
        "max_new_tokens",
        "num_generations",
        "drop_columns",
    )
    return {"script": "generate", **{name: getattr(args, name) for name in names}}


def _short_name(dataset: str) -> str:
    return re.sub(r"[^\w.-]+", "_", Path(dataset.rstrip("/")).stem or "dataset")
