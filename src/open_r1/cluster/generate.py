# SPDX-License-Identifier: Apache-2.0
"""`slurm/generate.slurm`: serves a model on the nodes of a job and generates completions for a data set with it.

1. The job ends when the generation does, with its exit status, and so do the servers. Upstream's server had to be
   cancelled, or ran until the time limit.
2. What is finished stays: before its time limit the job goes back to the queue, and it or the same command goes on.
   An output that is already finished is found without starting a server. Two attempts in a row without a new answer
   end it.
3. Flags of the client are checked by the client before anything starts, and columns of local data with them.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from open_r1.cluster.allocation import Allocation
from open_r1.cluster.command_line import build_parser, run
from open_r1.cluster.script_flags import has_packages_of_nodes
from open_r1.cluster.serve import Service, add_serving_flags
from open_r1.cluster.sites import Site
from open_r1.cluster.steps import Step
from open_r1.cluster.supervisor import Plan
from open_r1.data.card import CARD_NAME
from open_r1.data.flags import WORDS, JoinWords, joined, respelled

_CHECK_TIMEOUT_S = 300  # distilabel is imported, perhaps from a slow disk
_DESCRIPTION = """Serve a model on the nodes of a job and generate completions for the rows of a data set.

All flags that are not listed here go to the client: src/open_r1/generate.py (--hf-dataset, --prompt-column,
--prompt-template, --temperature, --top-p, --max-new-tokens, --num-generations, --input-batch-size, --client-replicas,
--timeout, --retries, --hf-output-dataset, --private, --output-dir, ...), whose --help lists them, or with
--client generate_reasoning to scripts/generate_reasoning.py (whose --revision is the data set's and whose --deadline
a request's). So do words behind --. Paths are read from the project's folder."""
_EPILOG = """examples:
  slurm/generate.slurm --hf-dataset AI-MO/NuminaMath-TIR --prompt-column problem --model deepseek-ai/DeepSeek-R1 \\
      --temperature 0.6 --max-new-tokens 8192 --hf-output-dataset me/numina-r1
  slurm/generate.slurm --nodes 1 --model Qwen/Qwen3-8B --replicas 8 --hf-dataset rows.jsonl --output-dir data/rows_qwen
  slurm/generate.slurm --nodes 4 --replicas 4 --model Qwen/Qwen3-32B --client generate_reasoning \\
      --dataset-name rows.jsonl --prompt-column problem --output-dir data/rows_qwen

The same command goes on where a job was ended, and finds what is finished."""
# Print where the output goes and how it's made, from the client's own reading of its command line.
_SHOW = (
    "import json; print(json.dumps({name: vars(args).get(name) for name in ('output_dir', 'output_file', 'overwrite', "
    "'retry_errors', 'max_new_tokens', 'max_tokens')}, default=str))"
)
# Flags of serve.slurm that clients have for something else, or could have -> what they are called here.
_RENAMED = {"--revision": "--model-revision", "--deadline": "--server-deadline"}
_OURS = ("--serve", "--serve-deadline-s", "--vllm", "--vllm-server-url", "--wait-s", "--api-addr")


@dataclass(frozen=True)
class Client:
    """A script that asks servers for completions.

    Args:
        script: Below the project's folder.
        parse: Program that reads `sys.argv[1:]` as the script does, into `args`.
        takes_several: Whether it can ask several servers.
    """

    script: str
    parse: str
    takes_several: bool


CLIENTS = {
    "generate": Client(
        "src/open_r1/generate.py",
        "import sys; from open_r1.generation.distil_arguments import parse_args; args = parse_args(sys.argv[1:], ''); "
        "from open_r1.generation.publishing import check_local; check_local(args.hf_dataset, args.hf_dataset_config, "
        "args.hf_dataset_split, [args.prompt_column], args.drop_columns)",
        takes_several=False,
    ),
    "generate_reasoning": Client(
        "scripts/generate_reasoning.py",
        "import runpy, sys; from open_r1.data.flags import respelled; build = "
        "runpy.run_path('scripts/generate_reasoning.py')['build_parser']; "
        "args = build().parse_args(respelled(sys.argv[1:], '-')); "
        "from open_r1.generation.publishing import check_local; "
        "check_local(args.dataset_name, args.config, args.split, [args.prompt_column, args.turns_column, "
        "args.uuid_column], args.drop_columns, has_turns=args.turns_column is not None)",
        takes_several=True,
    ),
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `slurm/generate.slurm`."""
    parser = build_parser("generate", _DESCRIPTION, _EPILOG)
    add_serving_flags(parser, beside_client=True)
    add = parser.add_argument_group("generation").add_argument
    add("--client", choices=tuple(CLIENTS), default="generate", help="what asks the servers")
    add(
        "--serve-args",
        action=JoinWords,
        default="",
        metavar=WORDS,
        help="more words for the engine, split as a shell would; may be repeated",
    )
    return parser


def make_plan(arguments: argparse.Namespace, site: Site, allocation: Allocation) -> Plan:
    """Return what the job runs: servers, a look at them, the client; the client alone if its output is finished.

    Raises:
        ValueError: The command line can't work on these nodes.
    """
    client = CLIENTS[arguments.client]
    words = list(arguments.rest)
    if "--" in words:
        words.remove("--")
    service = Service(arguments, _split(arguments.serve_args), site, allocation)
    addresses = [service.router_url] if service.router_url is not None else service.urls
    if len(addresses) > 1 and not client.takes_several:
        raise ValueError(
            f"--client {arguments.client} asks one address, and there are {len(addresses)} replicas: "
            "add --router, or take --client generate_reasoning"
        )
    _check_words(arguments.client, words)
    server = ["--api-addr", ",".join(f"{url}/v1" for url in addresses)]
    if arguments.client == "generate":
        server = ["--vllm-server-url", f"{addresses[0]}/v1"]
    if service.serving.api_key_env is not None:
        server += ["--api-key-env", service.serving.api_key_env]
    words = ["--model", service.serving.name, *server, *words]
    command = site.python_command(str(site.root / client.script), *words)
    # A key of the user's for another service must not go to servers that want none.
    env = {"OPENAI_API_KEY": ""} if service.serving.api_key_env is None else {}
    work = Step("generate", command, allocation.nodes[:1], gpus=0, env=env, is_shown=True)
    output = None
    if has_packages_of_nodes(site):
        output = find_output(client, words, site, service.serving.max_model_len)
    if output is not None and output.is_finished:
        return Plan(work=(work,), notes=(f"{output.folder} is finished: no server is started",))
    return Plan(
        servers=service.servers,
        work=(service.watch(site, ["--once"]), work),
        on_time_limit="requeue",
        deadline_s=arguments.deadline,
        notes=service.notes,
        answers_in=None if output is None else (output.folder,),
    )


def _check_words(client: str, words: Sequence[str]) -> None:
    for name in (word.partition("=")[0] for word in words):
        if name in _OURS:
            raise ValueError(f"{name} is set by this script, which starts the servers")
        if name in _RENAMED and client == "generate":
            raise ValueError(f"{name} is called {_RENAMED[name]} here")


@dataclass(frozen=True)
class Output:
    """Where a client's answers go.

    Args:
        folder: An absolute path.
        is_finished: It is there, whole, and not to be made anew.
    """

    folder: Path
    is_finished: bool


def find_output(client: Client, words: Sequence[str], site: Site, max_model_len: int | None = None) -> Output | None:
    """Have the client read its command line, and return its output; None: it names none.

    Args:
        client: The script.
        words: Its command line.
        site: The cluster, whose nodes have the Python of this process: the client is installed there.
        max_model_len: Tokens that the server takes, as far as it was said.

    Raises:
        ValueError: The client refuses the command line; with its message. Or no prompt would fit beside its answer.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"{client.parse}; {_SHOW}", *words],
            cwd=site.root,
            capture_output=True,
            text=True,
            timeout=_CHECK_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"{client.script} has not read its flags within {_CHECK_TIMEOUT_S} s: is the storage of {sys.prefix} slow?"
        ) from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it gives no reason"]
        raise ValueError(
            f"{client.script} refuses its flags: {said[-1].removeprefix('-c: error: ').removeprefix('ValueError: ')}"
        )
    shown = json.loads(done.stdout)
    answer = shown["max_new_tokens"] or shown["max_tokens"] or 0
    if max_model_len is not None and answer >= max_model_len:
        flag = "--max-new-tokens" if shown["max_new_tokens"] else "--max-tokens"
        raise ValueError(
            f"{flag} is {answer} and --max-model-len, of prompt and answer together, {max_model_len}: "
            "lower the first or raise the second"
        )
    folder = shown["output_dir"] or (shown["output_file"] and Path(shown["output_file"]).with_suffix(""))
    if not folder:
        return None
    try:
        path = site.root / Path(folder).expanduser()
    except RuntimeError as error:
        raise ValueError(f"the output folder {folder} is in no home folder that there is") from error
    is_made_anew = shown["overwrite"] or shown["retry_errors"]
    return Output(path, not is_made_anew and (path / CARD_NAME).is_file())


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(f"--serve-args can't be split into words ({error}): {text!r}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run `slurm/generate.slurm`."""
    parser = make_parser()
    words = respelled(joined(parser, sys.argv[1:] if argv is None else argv), "-")
    return run(parser, make_plan, words, passes_on=True)


if __name__ == "__main__":
    sys.exit(main())
