# SPDX-License-Identifier: Apache-2.0
"""Command lines of the scripts: short refusals with the nearest flag, dashes or underscores.

>>> respelled(["--max_tokens=8", "a_b", "--text", "--x_y z"], "-")
['--max-tokens=8', 'a_b', '--text', '--x_y z']
"""

import argparse
import copy
import difflib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from open_r1.secret_names import note_secrets

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


class FlagHelp(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Help of `HfArgumentParser` with each flag in one spelling, and with the defaults that say something."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        one = copy.copy(action)
        one.option_strings = [flag for flag in action.option_strings if "-" not in flag[2:]]
        return super()._format_action_invocation(one)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        is_plain = action.default in (None, "", [], False) or "efault: " in (action.help or "")
        return action.help if is_plain else super()._get_help_string(action)


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
