# SPDX-License-Identifier: Apache-2.0
"""Mend what programs written for older compilers and interpreters need and today's don't have.

`python_patches` mends Python, `cpp_patches` C++; each says how it differs from Open R1. Whether programs are patched
is the recipe's choice (`patch_code`), since a model learns from it that old code is fine.
"""

from open_r1.grading.cpp_patches import patch_cpp
from open_r1.grading.python_patches import patch_python
from open_r1.sandbox.base import UnsupportedLanguageError
from open_r1.sandbox.languages import find_language

_PATCHES = {"python": patch_python, "cpp": patch_cpp}


def is_patchable(language: str) -> bool:
    """Whether programs in a language, by any name of a data set, can be patched.

    >>> [is_patchable(name) for name in ("PyPy 3-64", "GNU C++17 (64)", "rust")]
    [True, True, False]
    """
    return _name_of(language) in _PATCHES


def patch_code(text: str, language: str) -> str:
    r"""Return a program mended; one that is blank, can't be read, or is in another language comes back as it is.

    >>> patch_code("from fractions import gcd\nprint(gcd(4, 6))\n", "PyPy 3").splitlines()[1]
    'from math import gcd'
    """
    patch = _PATCHES.get(_name_of(language))
    return text if patch is None or not text.strip() else patch(text)


def _name_of(language: str) -> str:
    try:
        return find_language(language).name
    except UnsupportedLanguageError:
        return ""
