# SPDX-License-Identifier: Apache-2.0
"""Runs in a box: a script as a notebook runs a cell, so that the value of its last expression comes out.

The script is the file `script.py` beside this one, the first line of standard input a nonce. Behind everything that
the script has printed, this program prints the nonce and a line of JSON: `text`, the `repr` of the value or null, and
`error`, null or name, value and traceback of what the script raised.
"""

import ast
import asyncio
import contextlib
import inspect
import json
import os
import sys
import traceback
import types
from pathlib import Path

LOOPS = []


def run_cell(source: str) -> object:
    """Run the script in a module of its own; return the value of its last expression."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module  # pickle and multiprocessing look for the script's names there
    tree = ast.parse(source, "<cell>")
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        return evaluate(tree, "exec", module)
    tree.body.pop()
    evaluate(tree, "exec", module)
    return evaluate(ast.Expression(last.value), "eval", module)


def evaluate(tree: ast.AST, mode: str, module: types.ModuleType) -> object:
    """Run one part of the script; `await` may stand outside functions, as in a notebook."""
    code = compile(tree, "<cell>", mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)  # type: ignore[call-overload]
    value = eval(code, module.__dict__)
    return loop().run_until_complete(value) if code.co_flags & inspect.CO_COROUTINE else value


def loop() -> asyncio.AbstractEventLoop:
    """Return the one event loop of all parts of the script."""
    if not LOOPS:
        LOOPS.append(asyncio.new_event_loop())
        asyncio.set_event_loop(LOOPS[0])
    return LOOPS[0]


def script_frames(frames: "types.TracebackType | None") -> "types.TracebackType | None":
    """Return the part of a traceback that is the script's, without this program's own frames."""
    while frames is not None and frames.tb_frame.f_code.co_filename != "<cell>":
        frames = frames.tb_next
    return frames


def main() -> None:
    """Run the script and report."""
    nonce = sys.stdin.readline().strip()
    report = os.dup(1)  # the script may close or replace its standard output
    sys.argv = [""]
    text, failure = None, None
    try:
        value = run_cell(Path("script.py").read_text(encoding="utf-8"))
        text = None if value is None else repr(value)
    except BaseException as error:  # noqa: BLE001 - whatever the script raises is its result, exits too
        trace = "".join(traceback.format_exception(type(error), error, script_frames(error.__traceback__)))
        failure = {"name": type(error).__name__, "value": str(error), "traceback": trace}
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # replaced or closed by the script
            stream.flush()  # type: ignore[union-attr]
    line = (nonce + json.dumps({"text": text, "error": failure}) + "\n").encode()
    while line:
        line = line[os.write(report, line) :]
    os._exit(0)  # threads that the script left running don't hold up its result


if __name__ == "__main__":
    main()
