# SPDX-License-Identifier: Apache-2.0
"""Keys and tokens stay out of what is written and pushed: command lines, settings."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HIDDEN = "***"
_MIN_SECRET = 8  # characters; shorter values of variables would hide common words
# Names of settings, flags and variables whose values are secret; max_tokens, eos_token and api_key_env are not.
_SECRET_NAME = re.compile(
    r"(?i)(^|[-_.])((api|access|secret|private|auth)[-_]?key|secret|password|passwd|authorization|credentials?|bearer"
    r"|token)$"
)
_PUBLIC = r"-*(eos|bos|pad|unk|sep|cls|mask|stop|image|think|start|end|((min|max)[-_])?new)[-_]token"
_PUBLIC_NAME = re.compile(rf"(?i)^{_PUBLIC}$")
# Tokens as they are issued, and never a part of a path: folders may be called hf_datasets or sk-learn-examples.
_SECRET_TEXT = re.compile(
    r"(?<![\w/\\.\-])(hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_\-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}"
    r"|xox[abp]-[\w\-]{20,}|AKIA[A-Z0-9]{16}|eyJ[\w\-]{8,}\.[\w\-]{8,}\.[\w\-]+)(?![\w/\\\-])"
    r"|(?<=://)[^/\s@'\"]+:[^/\s@'\"]+(?=@)"
    r"|(?i:(?<=bearer )|(?<=api-key: )|(?<=api_key=))[^\s'\"&]+"
)
# Of a query or a variable: `?access_token=t`, `HF_TOKEN=t`.
_TOKEN = re.compile(rf"(?i)(?<![\w-])(?!{_PUBLIC}=)(?P<name>[\w-]*token=)[^\s'\"&]+")
# The value of a word's first flag, up to the next flag.
_FIRST_VALUE = re.compile(r"=.*?(?=\s--?[A-Za-z]|$)", re.DOTALL)
# A flag and its value within a word that holds several: `--args "--hub_token t"`.
_NESTED_FLAG = re.compile(r"""(?<![\w-])(--?[A-Za-z][\w.-]*)(=|\s+)(?!-)("[^"]*"|'[^']*'|\S+)""")


def is_secret_name(name: str) -> bool:
    """Say whether the value of a setting, flag or variable of this name is a secret."""
    name = name.lstrip("-")
    return bool(_SECRET_NAME.search(name)) and not _PUBLIC_NAME.search(name)


def hide_secrets(value: Any) -> Any:
    """Return a value in which secrets are replaced: by their name, their form, or as those of the environment."""
    known = [secret for name, secret in os.environ.items() if len(secret) >= _MIN_SECRET and is_secret_name(name)]
    return _hide(value, known)


def without_named_secrets(value: Any) -> Any:
    """Return a value with what is secret by its name hidden, and all else as it is."""
    if isinstance(value, dict):
        return {
            key: HIDDEN if entry is not None and is_secret_name(str(key)) else without_named_secrets(entry)
            for key, entry in value.items()
        }
    return [without_named_secrets(entry) for entry in value] if isinstance(value, list) else value


def _hide(value: Any, known: Sequence[str]) -> Any:
    if isinstance(value, dict):
        return {
            key: HIDDEN if entry is not None and is_secret_name(str(key)) else _hide(entry, known)
            for key, entry in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_hide(entry, known) for entry in value]
    if not isinstance(value, str):
        return value
    for secret in known:
        value = value.replace(secret, HIDDEN)
    return _TOKEN.sub(_hide_token, _SECRET_TEXT.sub(HIDDEN, value))


def _hide_token(found: re.Match[str]) -> str:
    return f"{found['name']}{HIDDEN}"


def shell_line(words: Sequence[str]) -> str:
    """Return words as a line for a shell, in which secrets are hidden, also of flags that stand within a word.

    >>> shell_line(["a.py", "--api-key", "k", "--args=--hub_token t --seed 1", "http://me:pass@host"])
    "a.py --api-key *** '--args=--hub_token *** --seed 1' 'http://***@host'"
    """
    shown = []
    hide_next = False
    for word in words:
        flag, equals, _ = word.partition("=")
        is_flag = word.startswith("-")
        if hide_next and not is_flag:
            word = HIDDEN
        elif is_flag and equals and is_secret_name(flag):
            word = _FIRST_VALUE.sub(f"={HIDDEN}", word, count=1)
        hide_next = is_flag and not equals and is_secret_name(flag)
        shown.append(hide_secrets(_NESTED_FLAG.sub(_hide_nested, word)))
    return shlex.join(shown).replace(shlex.quote(HIDDEN), HIDDEN)


def _hide_nested(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{HIDDEN}" if is_secret_name(found[1]) else found[0]


def command_line(arguments: Sequence[str]) -> str:
    """Return a command line without secrets, and without the place of the script on this machine.

    Args:
        arguments: As `sys.argv`: the script and its arguments.
    """
    script = os.path.relpath(arguments[0]) if arguments and arguments[0] else ""
    return shell_line(["python", Path(script).name if script.startswith("..") else script, *arguments[1:]])
