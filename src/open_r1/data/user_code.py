# SPDX-License-Identifier: Apache-2.0
"""Python of the user's own, by its place: `path/to/file.py:name` or `package.module:name` in a recipe or a flag.

It runs in this process with the user's rights. A relative path starts in the working folder.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

Class = TypeVar("Class")

_KINDS = {"function": (inspect.isfunction, "functions"), "class": (inspect.isclass, "classes")}


def is_user_place(name: str) -> bool:
    """Whether a name means code of the user's: it holds a colon, or a path of a .py file."""
    return ":" in name or name.endswith(".py")


def load_function(place: str, *, role: str, setting: str) -> tuple[Callable[..., Any], str]:
    """Return the function at a place, and the place with its path made absolute.

    Args:
        place: Module or file, and name.
        role: What it is for, in messages.
        setting: Where the user has named it, in messages.

    Raises:
        ValueError: There is no such file, module or function, its import fails, or it can't be called.
    """
    title = f"The {role} {place!r} in {setting}"
    found, place = _load(place, "function", title)
    if not callable(found) or inspect.isclass(found):
        kind = "class" if inspect.isclass(found) else type(found).__name__
        raise ValueError(f"{title} is no function but a {kind}: name a function.")
    return found, place


def load_class(place: str, base: type[Class], *, role: str, setting: str) -> type[Class]:
    """Return the class at a place.

    Args:
        place: Module or file, and name.
        base: What it must be derived from.
        role: What it is for, in messages.
        setting: Where the user has named it, in messages.

    Raises:
        ValueError: There is no such file, module or class, its import fails, or it is of another kind.
    """
    title = f"The {role} {place!r} in {setting}"
    found, _ = _load(place, "class", title)
    if not inspect.isclass(found) or not issubclass(found, base):
        raise ValueError(f"{title} is no subclass of {base.__name__}: name a class that is one.")
    return found


def _load(place: str, kind: Literal["function", "class"], title: str) -> tuple[Any, str]:
    source, _, name = place.rpartition(":")
    if not source or not name.isidentifier():
        raise ValueError(f"{title} names no {kind}: write path/to/file.py:{kind} or package.module:{kind}.")
    if source.endswith(".py"):
        path = Path(source).expanduser().resolve()
        module, place = _import_file(path, title), f"{path}:{name}"
    else:
        module = _import_module(source, title, kind)
    found = getattr(module, name, None)
    if found is None:
        is_kind, kinds = _KINDS[kind]
        known = sorted(key for key, value in vars(module).items() if is_kind(value) and key[0] != "_")
        raise ValueError(f"{title}: there is no {name!r} in {source}. Its {kinds}: {', '.join(known)}.")
    return found, place


def _import_file(path: Path, title: str) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"{title}: there is no file {path}.")
    # One module a file, under a name that no import statement has.
    module_name = f"_user_code_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{title}: {path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickle look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises while it loads
        del sys.modules[module_name]
        raise ValueError(f"{title}: {path} fails to load ({type(error).__name__}: {error}).") from error
    return module


def _import_module(name: str, title: str, kind: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever the user's code raises while it loads
        hint = f" For a file, write path/to/file.py:{kind}." if isinstance(error, ImportError) else ""
        raise ValueError(f"{title}: {name} fails to import ({type(error).__name__}: {error}).{hint}") from error
