# SPDX-License-Identifier: Apache-2.0
"""`accelerate launch` (or `torchrun`) that forks its processes from this one, so that none imports anything again.

    forked_launch.py accelerate|torchrun WORD...

For `ForkDriver`, which has imported what trainings need. The launcher, its configs and the variables that it sets are
the real ones; the processes begin at the script's first line.
"""

import argparse
import os
import runpy
import sys
import traceback
from dataclasses import replace

from accelerate.commands import launch
from accelerate.utils.launch import prepare_simple_launcher_cmd_env
from torch.distributed import run


def run_program(*words: str) -> None:
    """Run a program by the words behind `python`, in a process that the launcher has forked."""
    sys.argv = [word for word in words if word != "-u"]
    sys.stdout.reconfigure(line_buffering=True)
    code = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 - what Python itself does with an error that nobody catches
        traceback.print_exc()
        code = 1
    if code:  # else the launcher waits for what a function returns
        sys.stderr.flush()
        os._exit(code)


def elastic_launch(config: run.LaunchConfig, entrypoint: str):
    """Stand in for torch's own, which starts Python."""
    return run_elastic(replace(config, start_method="fork"), run_program)


def launch_alone(args: argparse.Namespace) -> None:
    """Stand in for accelerate's launcher of one process, which starts Python too."""
    (_, *words), variables = prepare_simple_launcher_cmd_env(args)
    os.environ.update(variables)
    run_program(*words)


if __name__ == "__main__":
    launch.simple_launcher = launch_alone
    run_elastic, run.elastic_launch = run.elastic_launch, elastic_launch
    main = {"accelerate": launch.main, "torchrun": run.main}[sys.argv.pop(1)]
    main()
