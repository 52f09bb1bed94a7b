#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Run the stages of a pipeline one after the other: DeepSeek-R1 from a base model to a distilled student.

    python scripts/run_pipeline.py --config recipes/demo/pipeline.yaml                    # minutes on a CPU
    python scripts/run_pipeline.py --config recipes/DeepSeek-R1/pipeline.yaml --dry_run   # the plan
    python scripts/run_pipeline.py --config recipes/DeepSeek-R1/pipeline.yaml --slurm     # as a chain of jobs

Each stage is an ordinary command, printed as one would type it. Finished stages are skipped; the same command resumes
inside the stage that was interrupted. A missing input, a training without a recipe, and a finished stage that has
changed since are named before anything runs. What a stage is, and when it counts as changed: scripts/pipeline_plan.py.
"""

import argparse
import ctypes
import fcntl
import json
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline_plan import Pipeline, PipelineError, Record, Stage, Step, digest, load_pipeline, make_plan, value_behind

from open_r1.data.flags import STOPPED, FlagParser, respelled

PR_SET_PDEATHSIG = 1
POLL_S = 0.2
DEFAULT_PORT = 8000  # of vllm serve and serve_transformers.py


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = FlagParser(description=__doc__)
    add = parser.add_argument
    add(
        "--config", type=Path, required=True, metavar="FILE", help="the pipeline, as recipes/DeepSeek-R1/pipeline.yaml"
    )
    add("--from", dest="first", metavar="STAGE", help="begin here; what it needs must be finished")
    add("--until", dest="last", metavar="STAGE", help="end behind this stage")
    add("--stage", nargs="+", default=[], metavar="STAGE", help="these alone, also those that run only when named")
    add(
        "--override",
        action="append",
        default=[],
        metavar="STAGE:NAME=VALUE",
        help="setting of one stage, such as sft:max_steps=10; may be repeated",
    )
    add("--dry_run", action="store_true", help="print the plan with inputs and outputs, and run nothing")
    add(
        "--slurm", action="store_true", help="submit a job for each stage, which waits for those whose output it reads"
    )
    add("--redo", action="append", default=[], metavar="STAGE", help="put its output and all that rests on it aside")
    add("--accept", action="append", default=[], metavar="STAGE", help="take its output for that of its settings now")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = build_parser().parse_args(respelled(sys.argv[1:] if argv is None else argv, "_"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a stage is ended before the pipeline
    try:
        pipeline = load_pipeline(args.config, args.override)
        chosen = choose_stages(pipeline, args.first, args.last, args.stage)
        if args.dry_run:
            print_plan(pipeline, make_plan(pipeline, chosen), is_slurm=args.slurm)
            return 0
        with only_pipeline(pipeline.output_dir):
            for name in args.redo:
                put_aside(pipeline, pipeline.stage(name))
            for name in args.accept:
                accept(pipeline, pipeline.stage(name))
            plan = make_plan(pipeline, chosen)
            (submit_all if args.slurm else run_all)(pipeline, plan)
            print_results(pipeline)
    except PipelineError as error:
        print(f"run_pipeline.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("run_pipeline.py: stopped; the same command resumes in this stage.", file=sys.stderr)
        return STOPPED
    return 0


def choose_stages(pipeline: Pipeline, first: str | None, last: str | None, named: Sequence[str]) -> list[Stage]:
    """Return the stages that the command line asks for, in their order."""
    if named:
        if first or last:
            raise PipelineError("--stage names stages by themselves: leave --from and --until out.")
        names = {pipeline.stage(name).name for name in named}
        return [stage for stage in pipeline.stages if stage.name in names]
    start = 0 if first is None else pipeline.stages.index(pipeline.stage(first))
    end = len(pipeline.stages) if last is None else pipeline.stages.index(pipeline.stage(last)) + 1
    chosen = [stage for stage in pipeline.stages[start:end] if not stage.only_named]
    if not chosen:
        raise PipelineError(f"No stage lies between {first} and {last}.")
    return chosen


@contextmanager
def only_pipeline(output_dir: Path) -> Iterator[None]:
    """Hold the pipeline's lock, which a stage holds too: two trainings would write into one folder.

    Raises:
        PipelineError: Another pipeline holds it, or a stage that a killed pipeline has left behind.
    """
    (output_dir / "pipeline").mkdir(parents=True, exist_ok=True)
    with (output_dir / "pipeline" / "lock").open("w") as stream:
        os.set_inheritable(stream.fileno(), True)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PipelineError(
                f"A pipeline works in {output_dir}, or a stage that a killed one has left: wait for it, or end it."
            ) from None
        yield


def put_aside(pipeline: Pipeline, stage: Stage) -> None:
    """Rename the output of a stage and of all that depend on it, and forget that they were run."""
    for each in pipeline.readers(stage.name):
        if each.output.exists():
            number = 1
            while (kept := each.output.with_name(f"{each.output.name}.before-{number}")).exists():
                number += 1
            each.output.rename(kept)
            print(f"{each.name}: {each.output} is now {kept}")
        pipeline.record_path(each).unlink(missing_ok=True)


def accept(pipeline: Pipeline, stage: Stage) -> None:
    """Take the output of a finished stage for the result of its settings and inputs as they are now."""
    old = pipeline.read_record(stage)
    if old is None or old.state != "finished":
        raise PipelineError(f"--accept {stage.name}: it isn't finished.")
    new = pipeline.new_record(stage, "finished")
    new.output, new.seconds, new.cpu_seconds = digest(stage.output), old.seconds, old.cpu_seconds
    pipeline.write_record(stage, new)


def print_plan(pipeline: Pipeline, plan: Sequence[Step], *, is_slurm: bool) -> None:
    """Print each stage with its command, inputs and output."""
    jobs = {step.stage.name: f"JOB_OF_{step.stage.name}" for step in plan if step.status != "finished"}
    for step in plan:
        stage = step.stage
        print(f"\n# {stage.name}: {stage.does} [{step.status}]")
        if is_slurm and stage.name in jobs:
            print(shlex.join(job_command(pipeline, stage, jobs)))
        else:
            if stage.server is not None:
                print(f"{shlex.join(stage.server)} &")
            print(shlex.join(stage.words))
        for path in stage.inputs:
            maker = pipeline.maker_of(path)
            print(f"#   in   {path}{'' if maker is None else f' (of {maker.name})'}")
        print(f"#   out  {stage.output}")


def run_all(pipeline: Pipeline, plan: Sequence[Step]) -> None:
    """Run the stages of a plan here."""
    for step in plan:
        stage = step.stage
        if step.status == "queued":
            settle_job(pipeline, step)
        if step.status == "finished":
            settle_finished(pipeline, step)
            print(f"\n# {stage.name}: finished earlier, skipped", flush=True)
            continue
        print(f"\n# {stage.name}: {stage.does}", flush=True)
        record = pipeline.new_record(stage, "started")
        pipeline.write_record(stage, record)
        started, cpu_started = time.monotonic(), _cpu_of_children()
        run_stage(pipeline, stage)
        record.seconds, record.cpu_seconds = time.monotonic() - started, _cpu_of_children() - cpu_started
        finish(pipeline, stage, record)


def finish(pipeline: Pipeline, stage: Stage, record: Record) -> None:
    """Keep that a stage is finished, with the digests of what it has read and made."""
    record.inputs = pipeline.new_record(stage, "finished").inputs
    record.state, record.output = "finished", digest(stage.output)
    pipeline.write_record(stage, record)


def run_stage(pipeline: Pipeline, stage: Stage) -> None:
    """Run the command of a stage, its server beside it.

    Raises:
        PipelineError: One of them has failed, or the output is incomplete.
    """
    log = pipeline.output_dir / "pipeline" / f"{stage.name}.server.log"
    server = None
    if stage.server is not None:
        print(f"{shlex.join(stage.server)} &", flush=True)
        with log.open("a", encoding="utf-8") as stream:
            server = _start(stage.server, stdout=stream, stderr=stream)
    print(shlex.join(stage.words), flush=True)
    try:
        if server is not None:
            _await(server, int(value_behind(stage.server or (), "--port") or DEFAULT_PORT), f"stage {stage.name}", log)
        command = _start(stage.words)
        try:
            while (status := command.poll()) is None:
                time.sleep(POLL_S)
                if server is not None and server.poll() is not None:
                    raise PipelineError(f"The server of stage {stage.name} has ended by itself: see {log}.")
        finally:
            _end(command)
    finally:
        if server is not None:
            _end(server)
    if status != 0:
        raise PipelineError(f"Stage {stage.name} has ended with status {status}; the same command resumes in it.")
    missing = stage.why_incomplete()
    if missing is not None:
        raise PipelineError(f"Stage {stage.name} has stopped early ({missing}); the same command resumes in it.")


def _await(server: subprocess.Popen, port: int, whose: str, log: Path) -> None:
    """Wait until a server listens, which it does once its model is loaded."""
    while server.poll() is None:
        with socket.socket() as connection:
            if connection.connect_ex(("localhost", port)) == 0:
                return
        time.sleep(POLL_S)
    raise PipelineError(f"The server of {whose} has ended before it was ready: see {log}.")


def _start(words: Sequence[str], **options: Any) -> subprocess.Popen:
    """Start a command with the programs of this environment first, to be ended when this process is."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def die_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    environment = {**os.environ, "PATH": path}
    try:
        # The lock's descriptor is inherited: a stage that outlives a killed pipeline holds it.
        return subprocess.Popen(words, env=environment, close_fds=False, preexec_fn=die_with_parent, **options)
    except OSError as error:
        raise PipelineError(f"{words[0]} can't be started: {error.strerror}.") from error


def _end(process: subprocess.Popen) -> None:
    """End a process that still runs, first kindly."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def submit_all(pipeline: Pipeline, plan: Sequence[Step]) -> None:
    """Submit a job for each stage of a plan that is neither finished nor queued."""
    jobs: dict[str, str] = {}
    for step in plan:
        stage = step.stage
        if step.status == "queued":
            settle_job(pipeline, step, jobs)
        if step.status == "finished":
            settle_finished(pipeline, step)
        if step.status == "finished" or stage.name in jobs:
            continue
        words = job_command(pipeline, stage, jobs)
        print(shlex.join(words), flush=True)
        found = subprocess.run(words, capture_output=True, text=True, check=False)
        if found.returncode != 0:
            raise PipelineError(f"Stage {stage.name} was not submitted: {found.stderr.strip()}")
        record = pipeline.new_record(stage, "submitted")
        jobs[stage.name] = record.job = found.stdout.strip().splitlines()[-1].split(";")[0]
        pipeline.write_record(stage, record)
        print(f"{stage.name}: job {record.job}", flush=True)


def job_command(pipeline: Pipeline, stage: Stage, jobs: dict[str, str]) -> list[str]:
    """Return the words that submit a stage, to start when the jobs of those whose output it reads have succeeded."""
    words = ["sbatch", "--parsable", f"--job-name={stage.name}"]
    waits = [jobs[maker.name] for maker in pipeline.makers(stage) if maker.name in jobs]
    if waits:
        words += [f"--dependency=afterok:{':'.join(waits)}", "--kill-on-invalid-dep=yes"]
    if stage.slurm is not None:
        return [*words, *stage.slurm]
    if stage.server is not None or (stage.words[0] == "accelerate"):
        raise PipelineError(
            f"Stage {stage.name} needs a line `slurm`, with {{args}} in it where settings are overridden: a job of "
            "its own has no server and no launcher."
        )
    path = f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    return [*words, "--open-mode=append", "--output=logs/%x-%j.log", f"--wrap={path} {shlex.join(stage.words)}"]


def settle_job(pipeline: Pipeline, step: Step, jobs: dict[str, str] | None = None) -> None:
    """Look for the job of a stage whose output is incomplete; one that has left the queue is forgotten.

    Args:
        pipeline: The pipeline.
        step: The stage.
        jobs: Gets the number of a job that is in the queue; None: such a job is refused.

    Raises:
        PipelineError: The job is in the queue, and the stage was to be run here.
    """
    job = step.record.job if step.record is not None else None
    found = subprocess.run(["squeue", "-h", "-j", str(job), "-o", "%T"], capture_output=True, text=True, check=False)
    if not found.stdout.strip():
        return
    if jobs is None:
        raise PipelineError(f"Stage {step.stage.name} is in Slurm's queue, as job {job}.")
    jobs[step.stage.name] = str(job)
    print(f"{step.stage.name}: job {job}, {found.stdout.strip().lower()}", flush=True)


def settle_finished(pipeline: Pipeline, step: Step) -> None:
    """Complete the record of a stage that a job has finished."""
    if step.record is not None and step.record.state == "submitted":
        finish(pipeline, step.stage, step.record)


def print_results(pipeline: Pipeline) -> None:
    """Print the finished stages with their seconds and what their models were measured at."""
    print(f"\n{'stage':20} {'min':>7} {'CPU s':>7}  measured")
    for stage in pipeline.stages:
        record = pipeline.read_record(stage)
        if record is None or record.state != "finished":
            continue
        seconds = "-" if record.seconds is None else f"{record.seconds / 60:.1f}"
        cpu = "-" if record.cpu_seconds is None else f"{record.cpu_seconds:.0f}"
        measured = ", ".join(f"{name} {value:.3f} ({low:.3f}-{high:.3f})" for name, value, low, high in results(stage))
        print(f"{stage.name:20} {seconds:>7} {cpu:>7}  {measured or '-'}")


def results(stage: Stage) -> list[tuple[str, float, float, float]]:
    """Return each avg@k that the training of a stage has ended with: name, value, 95 % interval."""
    path = stage.output / "eval_results.json"
    values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    names = [name for name in values if f"{name}_low" in values and "/avg@" in name]
    return [
        (name.removeprefix("eval_"), values[name], values[f"{name}_low"], values[f"{name}_high"]) for name in names
    ]


if __name__ == "__main__":
    sys.exit(main())
