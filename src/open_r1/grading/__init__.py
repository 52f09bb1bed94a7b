# SPDX-License-Identifier: Apache-2.0
"""Judging one program by its tests, in a sandbox. Imports no torch.

`verdict` what became of a test · `cases` tests as data sets hold them · `programs` judges a program by them, within a
budget, with `compare` and `functions` · `checkers` programs of a task's author · `patches` for old programs ·
`ioi`, `codeforces` contests · `fences` finds a program in a text · `batch` many submissions · `__main__` one by hand.
"""
