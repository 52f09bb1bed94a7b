# SPDX-License-Identifier: Apache-2.0
"""The one cleaner of all that is printed, written or pushed: command lines, settings, URLs, headers, servers' replies.

    --extra-body '{"api_key": "k"}'  ->  --extra-body '{"api_key": ***}'

Hidden are values of secret names, texts that look like issued tokens, and wherever they stand the secrets of the
environment and those that `note_secrets` was told of.
"""

import os
import re
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

HIDDEN = "***"
_MIN_SECRET = 8  # characters; shorter values would hide common words
# Names of settings, flags, variables and headers whose values are secret; max_tokens and api_key_env are not.
_SECRET = (
    r"(?:(?:api|access|secret|private|auth)[-_]?key|secret|password|passwd|authorization|credentials?|bearer|token)"
)
_SECRET_NAME = re.compile(rf"(?i)(^|[-_.]){_SECRET}$")
_PUBLIC_NAME = re.compile(
    r"(?i)^(eos|bos|pad|unk|sep|cls|mask|stop|image|think|start|end|((min|max)[-_])?new)[-_]token$"
)
_TOKEN = (
    r"(?:hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_\-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}"
    r"|xox[abp]-[\w\-]{20,}|AKIA[A-Z0-9]{16}|eyJ[\w\-]{8,}\.[\w\-]{8,}\.[\w\-]+)"
)
# Tokens as they are issued, and never a part of a path: folders may be called hf_datasets or sk-learn-examples.
_SECRET_TEXT = re.compile(
    rf"(?<![\w/\\.\-]){_TOKEN}(?![\w/\\\-])|(?<=://)[^/\s@'\"]+:[^/\s@'\"]+(?=@)|(?i:(?<=bearer ))[^\s'\"&]+"
)
_URL = re.compile(r"(?i)\bhttps?://[^\s'\"]+")
# Within a URL's path: issued tokens, UUIDs, long words of letters and digits.
_URL_SECRET = re.compile(
    rf"(?i)(?<=/)(?:{_TOKEN}|[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}|(?=\w*\d)(?=\w*[a-z])\w{{20,}})(?=[/?#]|$)"
)
_QUOTED = r"""\\*"[^"]*"|\\*'[^']*'"""
# `token=t`, `"api_key": "k"`, `Authorization: Bearer k`, `--hub_token t`.
_ASSIGNED = [
    re.compile(rf"(?i)(?<![\w.-])(?P<name>[\w.-]*{_SECRET})(?P<between>{between})(?:{value})")
    for between, value in (
        ("=", rf"{_QUOTED}|[^\s'\"&;]+"),
        (r"\\*[\"']\s*:\s*", rf"{_QUOTED}|[^\s'\",}}\]]+"),
        (r"(?<=authorization):\s*|(?<=key):\s*", r"(?:(?:bearer|basic)\s+)?[^\s'\",]+"),
    )
] + [re.compile(rf"(?i)(?<![\w-])(?P<name>--?[a-z][\w.-]*)(?P<between>\s+)(?!-)(?:{_QUOTED}|\S+)")]
# The value of a word's first flag, up to the next flag.
_FIRST_VALUE = re.compile(r"=.*?(?=\s--?[A-Za-z]|$)", re.DOTALL)

_noted: set[str] = set()


def is_secret_name(name: str) -> bool:
    """Say whether the value of a setting, flag or variable of this name is a secret."""
    name = name.lstrip("-")
    return bool(_SECRET_NAME.search(name)) and not _PUBLIC_NAME.search(name)


def note_secrets(value: Any) -> None:
    """Have a text hidden from now on wherever it stands; of a dictionary what is secret by its name."""
    if isinstance(value, str) and len(value) >= _MIN_SECRET:
        _noted.add(value)
    elif isinstance(value, dict):
        for name, entry in value.items():
            if is_secret_name(str(name)) or isinstance(entry, dict):
                note_secrets(entry)


def hide_secrets(value: Any) -> Any:
    """Return a value in which secrets are replaced, in dictionaries and lists too."""
    known = {secret for name, secret in os.environ.items() if len(secret) >= _MIN_SECRET and is_secret_name(name)}
    return _in_each(value, partial(_hide, known=sorted(known | _noted, key=len, reverse=True)))


def without_named_secrets(value: Any) -> Any:
    """Return a value with what is secret by its name hidden, and all else as it is."""
    return _in_each(value, lambda text: text)


def _in_each(value: Any, clean: Callable[[str], str]) -> Any:
    """Return a value with each of its texts cleaned, and what is secret by its name hidden."""
    if isinstance(value, dict):
        return {
            key: HIDDEN if entry is not None and is_secret_name(str(key)) else _in_each(entry, clean)
            for key, entry in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_in_each(entry, clean) for entry in value]
    return clean(value) if isinstance(value, str) else value


def _hide(text: str, known: Sequence[str]) -> str:
    for secret in known:
        text = text.replace(secret, HIDDEN).replace(quote(secret, safe=""), HIDDEN)
    text = _URL.sub(lambda url: _URL_SECRET.sub(HIDDEN, url[0]), _SECRET_TEXT.sub(HIDDEN, text))
    for assigned in _ASSIGNED:
        text = assigned.sub(_hide_assigned, text)
    return text


def _hide_assigned(found: re.Match[str]) -> str:
    return f"{found['name']}{found['between']}{HIDDEN}" if is_secret_name(found["name"]) else found[0]


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
        shown.append(hide_secrets(word))
    return shlex.join(shown).replace(shlex.quote(HIDDEN), HIDDEN)


def command_line(arguments: Sequence[str]) -> str:
    """Return a command line without secrets, and without the place of the script on this machine.

    Args:
        arguments: As `sys.argv`: the script and its arguments.
    """
    script = os.path.relpath(arguments[0]) if arguments and arguments[0] else ""
    return shell_line(["python", Path(script).name if script.startswith("..") else script, *arguments[1:]])
