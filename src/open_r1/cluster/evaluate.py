# SPDX-License-Identifier: Apache-2.0
"""`slurm/evaluate.slurm`: serves a model on one node and runs `scripts/run_benchmarks.py` against it.

1. Open R1's arguments by position still work: task name, task list, model, revision, tensor parallel, remote code,
   system prompt in base64.
2. Results stay in the output folder; Open R1 uploads them to a leaderboard and deletes them, also when that failed.
3. A requeued job goes on with the answers that it has. Two attempts in a row without a new one end it.
4. A job whose benchmarks can't be loaded ends before it serves a model.
5. A branch on the hub is served, and noted, as the commit that it is when the job starts.
"""

import argparse
import base64
import binascii
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from open_r1.cluster.allocation import Allocation
from open_r1.cluster.arrays import own_spelling
from open_r1.cluster.command_line import build_parser, check_deadline, count_leading, is_job, run, sbatch_words
from open_r1.cluster.evaluation_flags import HANDED_ON
from open_r1.cluster.script_flags import check_flags, has_packages_of_nodes
from open_r1.cluster.sites import Site
from open_r1.cluster.steps import Step
from open_r1.cluster.submission import read_options
from open_r1.cluster.supervisor import DEFAULT_DEADLINE_S, Plan, Server
from open_r1.data.benchmarks import find_benchmarks
from open_r1.data.flags import WORDS, JoinWords, joined
from open_r1.generation.servers import check_serve_args

logger = logging.getLogger(__name__)

_DESCRIPTION = """Serve a model on one node and run benchmarks on it.

Results come to <output_dir>/<model>/<revision>/<benchmark>/results.json, of --engine inspect and lighteval to
<benchmark>-inspect/ and <benchmark>-lighteval/; a job that is requeued, or submitted again, goes on with the answers
that are there."""
_EPILOG = """examples:
  slurm/evaluate.slurm --model open-r1/OpenR1-Distill-7B --benchmarks aime24 math_500
  slurm/evaluate.slurm --model data/my-model --data problems.jsonl --num_samples 16
  sbatch slurm/evaluate.slurm aime24 'lighteval|aime24|0|0' open-r1/OpenR1-Distill-7B main False False

Dashes and underscores in flags are the same. Paths are read from the project's folder. --nodes is 1.
--engine lighteval needs an environment of its own: where nodes don't reach a package index, make it before, by
scripts/lighteval_env.sh. Programs, of lcb for instance, run in a sandbox on the node while the model is served."""

_POSITIONAL = ("task name", "task list", "model", "revision", "tensor parallel", "trust remote code", "system prompt")
_COPIES_NAME = ".evaluations"  # as of open_r1.training.hub
_LARGE_BYTES = 60e9  # 30e9 parameters in 16 bits: from here on Open R1 uses tensor parallelism
_OF_THE_SERVER = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_API_KEY": "",  # of the user's environment: vLLM would demand it
}
_CHECKER = """
import json, sys
from open_r1.evaluation.flags import build_parser, settings_of
from open_r1.evaluation.job_checks import check_on_node, check_words, chosen_benchmarks
(check_on_node if {is_on_node} else check_words)(sys.argv[1:])
args = build_parser(None).parse_args(sys.argv[1:])
settings = settings_of(args)
print()
print(json.dumps([str(settings.folder_of(args.model_id, benchmark)) for benchmark in chosen_benchmarks(args)]))
"""
_RESOLVER = """
import sys
from open_r1.evaluation.identity import resolve_commit
print(resolve_commit(sys.argv[1], sys.argv[2]) or "")
"""
_COMMIT_S = 120.0
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `slurm/evaluate.slurm`."""
    parser = build_parser("evaluate", _DESCRIPTION, _EPILOG)
    add = parser.add_argument_group("model").add_argument
    add("--model", "--model_id", required=True, help="folder, or name on the hub")
    add("--revision", "--model_revision", default="main", help="branch, tag or commit on the hub")
    add(
        "--tensor_parallel",
        default="auto",
        metavar="auto|true|false|N",
        help="GPUs that a copy of the model is spread over: N, all (true), 1 (false), or all for models of 30e9 "
        "parameters and more (auto); copies of it use the other GPUs",
    )
    add(
        "--trust_remote_code",
        nargs="?",
        const="true",
        default="false",
        metavar="true|false",
        help="run code from the model's repository",
    )
    add("--system_prompt", metavar="TEXT", help="first message of each conversation")
    add(
        "--serve_args",
        action=JoinWords,
        default="",
        metavar=WORDS,
        help="more for `vllm serve`, as a shell splits them; may be repeated",
    )
    add("--deadline", type=float, default=DEFAULT_DEADLINE_S, metavar="S", help="seconds until it must be served")
    add(
        "--remove_model_copy",
        action="store_true",
        help=f"remove --model at the end, when all went well; it must lie in {_COPIES_NAME}, where a training puts "
        "copies of its checkpoints",
    )
    add = parser.add_argument_group("benchmarks, as of scripts/run_benchmarks.py").add_argument
    add(
        "--benchmarks", "--tasks", nargs="+", action="extend", default=[], metavar="NAME", help="names, or local files"
    )
    for name, check in HANDED_ON.items():
        add(f"--{name}", type=check, metavar="VALUE", help="as there")
    add("--overwrite", action="store_true", help="as there")
    return parser


def with_flags(words: Sequence[str]) -> list[str]:
    """Return a command line with names for Open R1's arguments by position.

    Flags may follow them; those of the submission may also come first.

    >>> with_flags(["aime24", "lighteval|aime24|0|0", "me/model", "main", "False", "True", "SGkh"])[-4:]
    ['--revision=main', '--tensor_parallel=False', '--trust_remote_code=True', '--system_prompt=Hi!']

    Raises:
        ValueError: There are too few or too many, or the system prompt is no base64.
    """
    words = own_spelling(joined(make_parser(), words))
    begin = count_leading(words)
    end = next((i for i, word in enumerate(words) if i >= begin and word.startswith("-")), len(words))
    given, flags = words[begin:end], [*words[:begin], *words[end:]]
    if not given:
        return flags
    if not 4 <= len(given) <= len(_POSITIONAL):
        raise ValueError(
            f"got {len(given)} arguments before the flags; by position they are: {', '.join(_POSITIONAL)}, the first "
            "four at least. Or name them by flags"
        )
    named = ["--benchmarks", *given[1].split(","), f"--model={given[2]}", f"--revision={given[3]}"]
    names = ("tensor_parallel", "trust_remote_code")
    named += [f"--{name}={value}" for name, value in zip(names, given[4:6], strict=False)]
    if len(given) == len(_POSITIONAL) and given[6]:
        named.append(f"--system_prompt={_from_base64(given[6])}")
    return [*named, *flags]


def make_plan(arguments: argparse.Namespace, site: Site, allocation: Allocation) -> Plan:
    """Return the server, and what asks it.

    Raises:
        ValueError: The command line can't work.
    """
    if not arguments.benchmarks and arguments.data is None:
        raise ValueError("name --benchmarks, or a local file by --data")
    if arguments.data is not None and not (site.root / Path(arguments.data).expanduser()).exists():
        raise ValueError(f"--data {arguments.data}: there is no such file or folder in {site.root}")
    if len(allocation.nodes) != 1:
        raise ValueError(f"a model is served on one node, the job has {len(allocation.nodes)}: --nodes=1")
    check_deadline(arguments.deadline)
    model = _model_of(arguments, site)
    node, port = allocation.nodes[0], allocation.port()
    asking = _words_of_the_asking(arguments, site, allocation)
    words = [f"--model_id={model}", f"--url={node}:{port}", *asking]
    folders = _check_asking(words, arguments, site)
    commit = _commit_of(arguments, site, model)
    allocation = allocation.assuming_gpus_for(partial(_tensor_parallel, arguments.tensor_parallel, model))
    serve_words = _serve_words(arguments, model, commit, node, port, allocation)
    words += [f"--model_commit={commit}"] if commit else []
    words.append(f"--served_with={shlex.join(serve_words)}")
    script = str(site.root / "scripts" / "run_benchmarks.py")
    nodes = (node,)
    # A step that fails is the last one: a copy is kept for the same command while anything is left to ask.
    work = [Step("run_benchmarks", site.python_command(script, *words), nodes, gpus=0, is_shown=True)]
    if arguments.remove_model_copy:
        work.append(Step("remove_model_copy", (*site.container, "rm", "-r", "--", model), nodes, gpus=0))
    gpus = allocation.gpus_per_node if allocation.has_assumed_gpus else None
    server = Step("vllm", site.vllm_command(*serve_words), nodes, gpus=gpus, env=_OF_THE_SERVER)
    return Plan(
        servers=(Server(server, (f"http://{node}:{port}/health",)),),
        work=tuple(work),
        on_time_limit="requeue",
        deadline_s=arguments.deadline,
        notes=allocation.assumptions,
        answers_in=folders,
    )


def _words_of_the_asking(arguments: argparse.Namespace, site: Site, allocation: Allocation) -> list[str]:
    """Return arguments of scripts/run_benchmarks.py: what is asked, and what decides the answers of the server."""
    revision = arguments.revision
    if not revision.strip() or revision.startswith("-"):
        raise ValueError(f"--revision is {revision!r}, which is no branch, tag or commit")
    words = [f"--model_revision={revision}"]
    words += ["--benchmarks", *_benchmarks_of(arguments, site)] if arguments.benchmarks else []
    for name in ("system_prompt", *HANDED_ON):
        value = vars(arguments)[name]
        words += [] if value is None else [f"--{name}={value}"]
    # A job that is requeued goes on with what its first attempt has begun.
    words += ["--overwrite", f"--run_id=job-{allocation.label}"] if arguments.overwrite else []
    words += [f"--serve_args={arguments.serve_args}"] if arguments.serve_args else []
    return words + (["--trust_remote_code=true"] if _truth("trust_remote_code", arguments.trust_remote_code) else [])


def _check_asking(asking: Sequence[str], arguments: argparse.Namespace, site: Site) -> tuple[Path, ...] | None:
    """Try the words for scripts/run_benchmarks.py: before they are submitted, and on the node before it serves.

    Where the nodes have another Python than this one, only the script itself can tell.

    Returns:
        In a job, the folders of the benchmarks' answers; None: nobody says.

    Raises:
        ValueError: It could only refuse them, or the node can't load what they name.
    """
    if not is_job():
        check_flags(site, "scripts/run_benchmarks.py", _CHECKER.format(is_on_node=False), asking)
        return None
    if arguments.dry_run or not has_packages_of_nodes(site):
        return None
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHECKER.format(is_on_node=True), *asking],
            cwd=site.root,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | site.step_environment(),
            timeout=DEFAULT_DEADLINE_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"benchmarks were not loaded on this node within {DEFAULT_DEADLINE_S:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or "no reason is given").splitlines()[-1].removeprefix("ValueError: ")
        raise ValueError(f"benchmarks can't be loaded on this node: {said}")
    return tuple(site.root / folder for folder in json.loads(done.stdout.splitlines()[-1]))


def _benchmarks_of(arguments: argparse.Namespace, site: Site) -> list[str]:
    """Return the benchmarks' names, local files as absolute paths."""
    paths = ((word, site.root / Path(word).expanduser()) for word in arguments.benchmarks)
    words = [str(path) if path.exists() else word for word, path in paths]
    find_benchmarks(words)
    return words


def _model_of(arguments: argparse.Namespace, site: Site) -> str:
    """Return the model's folder as an absolute path, or its name on the hub."""
    path = site.root / Path(arguments.model).expanduser()
    if path.is_dir():
        if arguments.remove_model_copy and path.resolve().parent.name != _COPIES_NAME:
            raise ValueError(
                f"--remove_model_copy: {path} is no copy that a training has made of a checkpoint (it doesn't lie in "
                f"{_COPIES_NAME}), and is left as it is"
            )
        return str(path)
    is_folder = arguments.model.startswith((".", "/", "~")) or arguments.model.count("/") > 1
    if arguments.remove_model_copy or is_folder or arguments.model.startswith("-"):
        if is_folder and not arguments.remove_model_copy and _waits_for_another(arguments):
            return str(path)
        raise ValueError(f"there is no folder {path}, and {arguments.model!r} is no name on the hub")
    return arguments.model


def _waits_for_another(arguments: argparse.Namespace) -> bool:
    """Whether the job starts behind others, which may write its model: it looks again itself."""
    return not is_job() and any(option.name == "dependency" for option in read_options(sbatch_words(arguments)))


def _commit_of(arguments: argparse.Namespace, site: Site, model: str) -> str | None:
    """Return the commit that the revision of a job's model is; None: of a folder, or nobody says on this node."""
    if not is_job() or arguments.dry_run or not has_packages_of_nodes(site) or Path(model).is_absolute():
        return None
    try:
        done = subprocess.run(
            [sys.executable, "-c", _RESOLVER, model, arguments.revision],
            cwd=site.root,
            text=True,
            capture_output=True,
            check=False,
            env=os.environ | site.step_environment(),
            timeout=_COMMIT_S,
        )
    except subprocess.TimeoutExpired:
        logger.warning("The commit of %s is not known after %.0f s: the revision is served.", model, _COMMIT_S)
        return None
    if done.returncode != 0:
        logger.warning("The commit of %s is not known: the revision is served. %s", model, done.stderr.strip()[-500:])
        return None
    return done.stdout.strip() or None


def _serve_words(
    arguments: argparse.Namespace, model: str, commit: str | None, node: str, port: int, allocation: Allocation
) -> list[str]:
    """Return the arguments of vLLM. What the model's repository proposes for sampling isn't mixed with ours."""
    extra = shlex.split(arguments.serve_args)
    check_serve_args(extra)
    words = ["serve", model, "--host", node, "--port", str(port), "--disable-uvicorn-access-log"]
    words += [] if any(word.startswith("--generation-config") for word in extra) else ["--generation-config", "vllm"]
    words += [] if Path(model).is_absolute() else ["--revision", commit or arguments.revision]
    words += ["--trust-remote-code"] if _truth("trust_remote_code", arguments.trust_remote_code) else []
    gpus = allocation.gpus_per_node
    if gpus:
        parallel = _tensor_parallel(arguments.tensor_parallel, model, gpus)
        words += ["--tensor-parallel-size", str(parallel)]
        words += ["--data-parallel-size", str(gpus // parallel)] if gpus > parallel else []
    return words + extra


def _tensor_parallel(value: str, model: str, gpus: int) -> int:
    """Return over how many GPUs a copy of the model is spread."""
    if value == "auto":
        return gpus if _is_large(model) else 1
    if value.lower() in ("true", "false"):
        return gpus if value.lower() == "true" else 1
    if not value.isdigit() or int(value) < 1 or gpus % int(value):
        valid = [number for number in range(1, gpus + 1) if gpus % number == 0]
        raise ValueError(
            f"--tensor_parallel is {value!r}: with {gpus} GPUs it must be one of {valid}, auto, true or false"
        )
    return int(value)


def _is_large(model: str) -> bool:
    if Path(model).is_absolute():
        return sum(path.stat().st_size for path in Path(model).glob("*.safetensors")) >= _LARGE_BYTES
    sizes = re.findall(r"(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z])", model.lower())
    return max((float(size) * int(experts or 1) for experts, size in sizes), default=0.0) >= 30


def _truth(name: str, word: str) -> bool:
    if word.lower() not in (*_YES, *_NO):
        raise ValueError(f"--{name} is {word!r}: write true or false")
    return word.lower() in _YES


def _from_base64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"the system prompt, argument 7, is no base64 of a text ({error}): {text[:60]!r}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = make_parser()
    try:
        words = with_flags(sys.argv[1:] if argv is None else argv)
    except ValueError as error:
        parser.error(str(error))
    return run(parser, make_plan, words)


if __name__ == "__main__":
    sys.exit(main())
