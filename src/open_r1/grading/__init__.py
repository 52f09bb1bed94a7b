# SPDX-License-Identifier: Apache-2.0
"""Judging one program by its tests, in a sandbox. Imports no torch.

`verdict` what became of a test · `cases` tests as data sets hold them · `programs` judges a program by them, with
`stdio` and `functions` · `checkers`, `binaries` programs of a task's author · `source_patches` for old programs ·
`runs` batches of tests · `ioi`, `codeforces` contests · `fences` finds a program in a text · `batch` many submissions.
"""
