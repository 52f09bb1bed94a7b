# SPDX-License-Identifier: Apache-2.0
"""Runs in a box: an interpreter whose snippets share their variables, `session.py SECONDS CHARACTERS`.

A snippet comes on standard input, as the number of its bytes in 8 digits and the bytes. The answer on standard output
has the same form: what the snippet printed, then the value of its last expression or its traceback. A snippet has so
many CPU seconds, and so many characters of its output are kept. Whoever asks must not trust the answer's form.
"""

import ast
import io
import os
import signal
import sys
import traceback
import types

NAME = "<python>"


class Output(io.StringIO):
    """The first characters of what is printed."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def write(self, text):
        """Keep what there is room for."""
        super().write(text[: max(0, self.most - self.tell())])
        return len(text)


class TimeLimit(BaseException):
    """A snippet has used up its CPU time."""


def stop(number, frame):
    """Handle the signal of the clock."""
    raise TimeLimit("the CPU time of a call is used up")


def run(source, names):
    """Run a snippet as a prompt does, with the value of its last expression."""
    tree = ast.parse(source, NAME)
    last = [tree.body.pop()] if tree.body and isinstance(tree.body[-1], ast.Expr) else []
    exec(compile(tree, NAME, "exec"), names)
    exec(compile(ast.Interactive(last), NAME, "single"), names)


def answer(source, names, seconds, most):
    """Return the output of a snippet."""
    sys.stdout = sys.stderr = output = Output(most)
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            run(source, names)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except BaseException as error:  # noqa: BLE001 - whatever the snippet raises is its output, exits too
        trace = None if isinstance(error, TimeLimit) else error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != NAME:
            trace = trace.tb_next
        traceback.print_exception(type(error), error, trace, file=output)
    return output.getvalue().encode("utf-8", "replace")


def main():
    """Answer snippets until nobody asks any more."""
    seconds, most = float(sys.argv[1]), int(sys.argv[2])
    asked, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    signal.signal(signal.SIGPROF, stop)
    module = sys.modules["__main__"] = types.ModuleType("__main__")  # pickle looks for the snippets' names there
    while size := asked.read(8):
        text = answer(asked.read(int(size)).decode(), vars(module), seconds, most)
        data = b"%08d" % len(text) + text
        while data:
            data = data[os.write(answers, data) :]


if __name__ == "__main__":
    main()
