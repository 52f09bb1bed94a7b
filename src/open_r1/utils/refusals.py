# SPDX-License-Identifier: Apache-2.0
"""How `sft.py` and `grpo.py` end: what we refuse before training begins is one message on stderr and exit status 1,
Ctrl-C a word on what is kept and exit status 130.

All else keeps its traceback: whatever happens in training, what libraries raise, and errors of our own that no
statement raises on purpose. `--log_level debug` logs that of a refusal too. A mistake in the arguments themselves has
exit status 2 (`parse_args`).
"""

import dis
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from open_r1.data.flags import STOPPED
from open_r1.utils.arguments import parse_args
from open_r1.utils.checkpoints import last_complete_checkpoint
from open_r1.utils.training import run_training

logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parents[1]


def run_script(main: Callable[..., object], script_class: type, config_class: type, description: str) -> NoReturn:
    """Parse the command line, run `main` with the three groups of arguments, and end the program.

    Args:
        main: Prepares a training and calls `run_training`.
        script_class: `SFTScriptArguments` or `GRPOScriptArguments`.
        config_class: `SFTConfig` or `GRPOConfig`.
        description: For `--help`.
    """
    arguments = parse_args(script_class, config_class, description=description)
    try:
        main(*arguments)
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        if not is_refusal(error):
            raise
        logger.debug("Refused here:", exc_info=error)
        # Several processes say who they are, as in torch's tracebacks. One write: they share their stderr.
        is_alone = os.environ.get("WORLD_SIZE", "1") == "1"
        label = "" if is_alone else f"[rank{os.environ.get('RANK', '0')}]: "
        lines = f"{type(error).__name__}: {error}".splitlines()
        sys.stderr.write("".join(f"{label}{line}\n" for line in lines))
        sys.exit(1)
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            last = last_complete_checkpoint(Path(arguments[1].output_dir))
            kept = f"the same command goes on from {last}" if last else "there is no checkpoint yet to go on from"
            sys.stderr.write(f"\nStopped by Ctrl-C; {kept}.\n")
        sys.exit(STOPPED)
    sys.exit(0)


def is_refusal(error: BaseException) -> bool:
    """Say whether a statement of this package has raised an error on purpose, before the training began."""
    last = trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is run_training.__code__:
            return False
        last, trace = trace, trace.tb_next
    return last is not None and _is_own_raise(last)


def _is_own_raise(place: TracebackType) -> bool:
    code = place.tb_frame.f_code
    is_ours = Path(code.co_filename).resolve().is_relative_to(_PACKAGE)
    # `int("x")` in our code, say, raises ValueError too, and is a mistake of ours.
    return is_ours and code.co_code[place.tb_lasti] == dis.opmap["RAISE_VARARGS"]
