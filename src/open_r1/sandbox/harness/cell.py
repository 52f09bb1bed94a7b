# SPDX-License-Identifier: Apache-2.0
"""Runs in a box: a script as a notebook runs a cell, so that the value of its last expression comes out.

The script is the file `script.py` beside this one, and its standard output goes to a file. This program prints JSON:
`stdout`, `text`, the `repr` of the value or null, and `error`, null or name, value and traceback of what it raised.
"""

import ast
import asyncio
import contextlib
import inspect
import json
import os
import sys
import tempfile
import traceback
import types
from pathlib import Path

VALUE = "_open_r1_value"


def run_cell(source: str) -> object:
    """Run the script in a module of its own; return the value of its last expression."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module  # pickle and multiprocessing look for the script's names there
    tree = ast.parse(source, "<cell>")
    if tree.body and isinstance(last := tree.body[-1], ast.Expr):
        tree.body[-1] = ast.copy_location(ast.Assign([ast.Name(VALUE, ast.Store())], last.value), last)
        ast.fix_missing_locations(tree)
    # `await` may stand outside functions, as in a notebook
    code = compile(tree, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    started = eval(code, module.__dict__)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(started)
    return module.__dict__.get(VALUE)


def main() -> None:
    """Run the script and report."""
    report, sys.argv = os.dup(1), [""]
    text, failure = None, None
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 1)
        try:
            value = run_cell(Path("script.py").read_text(encoding="utf-8"))
            text = None if value is None else repr(value)
        except BaseException as error:  # noqa: BLE001 - whatever the script raises is its result, exits too
            failure = {"name": type(error).__name__, "value": str(error), "traceback": traceback.format_exc()}
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            with contextlib.suppress(AttributeError, OSError, ValueError):  # replaced or closed by the script
                stream.flush()  # type: ignore[union-attr]
        printed.seek(0)
        stdout = printed.read().decode("utf-8", "replace")
    line = json.dumps({"stdout": stdout, "text": text, "error": failure}).encode()
    while line:
        line = line[os.write(report, line) :]
    os._exit(0)  # threads that the script left running don't hold up its result


if __name__ == "__main__":
    main()
