# SPDX-License-Identifier: Apache-2.0
"""Command lines of the scripts: short refusals with the nearest flag, dashes or underscores.

>>> respelled(["--max_tokens=8", "a_b", "--text", "--x_y z"], "-")
['--max-tokens=8', 'a_b', '--text', '--x_y z']
"""

import argparse
import difflib
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from open_r1.secret_names import note_secrets

WORDS = "WORDS"  # metavar of flags whose value is words for another program, which may look like flags themselves
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


class JoinWords(argparse.Action):
    """Of a flag with `WORDS` that is given several times, all words count, in their order; its default is ""."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        """Add the words of one more of these flags."""
        earlier = vars(namespace)[self.dest]
        if earlier:
            for text in (earlier, values):  # a quote that is open would end in the next text
                try:
                    shlex.split(text)
                except ValueError as error:
                    raise argparse.ArgumentError(self, f"{text!r} is not split into words: {error}") from error
        setattr(namespace, self.dest, f"{earlier} {values}".strip() if earlier else values)


def joined(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Return a command line with `--args --a=1` as one word: argparse takes a value that looks like a flag for one.

    Args:
        parser: Its flags with the metavar `WORDS` are meant, spelled with dashes or underscores.
        words: The command line; what follows a bare -- is left as it is.
    """
    names = {
        name.replace("_", "-")
        for action in parser._actions
        if action.metavar == WORDS
        for name in action.option_strings
    }
    joined: list[str] = []
    for position, word in enumerate(words):
        if word == "--":
            return [*joined, *words[position:]]
        if joined and joined[-1].replace("_", "-") in names and word.startswith("-"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def log_to_stderr() -> None:
    """Have a script's log lines written to stderr, and those of the hub's client once: it writes them itself."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
    logging.getLogger("huggingface_hub").propagate = False


def read_api_key(variable: str | None, *, flag: str = "--api_key_env") -> str | None:
    """Return the key in an environment variable; None: none is named.

    Args:
        variable: Its name.
        flag: What names it, for the message.

    Raises:
        ValueError: It isn't set, or is blank.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"The environment variable {variable}, named by {flag}, is not set or empty.")
    note_secrets(key)
    return key


def respelled(words: Sequence[str], separator: str) -> list[str]:
    """Return a command line whose flags are spelled with one separator, `-` or `_`; values stay as they are."""
    return [_respelled(word, separator) for word in words]


def _respelled(word: str, separator: str) -> str:
    name, equals, value = word.partition("=")
    if not word.startswith("--") or any(sign.isspace() for sign in name):
        return word
    return "--" + name[2:].replace("_" if separator == "-" else "-", separator) + equals + value
