# SPDX-License-Identifier: Apache-2.0
"""What the command lines of the data scripts share: short refusals with the nearest flag, dashes or underscores.

>>> respelled(["--max_tokens=8", "a_b", "--text", "--x_y z"], "-")
['--max-tokens=8', 'a_b', '--text', '--x_y z']
"""

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn

STOPPED = 130  # the exit status of a command that Ctrl-C has ended


class FlagParser(argparse.ArgumentParser):
    """A parser that takes whole flags only, and refuses in two lines instead of its whole usage."""

    def __init__(self, *, description: str | None) -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and the flags that unknown ones may be meant for; exit with 2."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            message += "".join(self._nearest(word.partition("=")[0]) for word in unknown.split())
        self.exit(2, f"usage: {self.prog} [flags]; --help lists them\n{self.prog}: error: {message}\n")

    def _nearest(self, word: str) -> str:
        found = difflib.get_close_matches(word, self._option_string_actions, n=1) if word.startswith("--") else []
        return f"; did you mean {found[0]} instead of {word}?" if found else ""


def respelled(words: Sequence[str], separator: str) -> list[str]:
    """Return a command line whose flags are spelled with one separator, `-` or `_`; values stay as they are."""
    return [_respelled(word, separator) for word in words]


def _respelled(word: str, separator: str) -> str:
    name, equals, value = word.partition("=")
    if not word.startswith("--") or any(sign.isspace() for sign in name):
        return word
    return "--" + name[2:].replace("_" if separator == "-" else "-", separator) + equals + value
