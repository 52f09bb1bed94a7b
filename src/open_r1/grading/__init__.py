# SPDX-License-Identifier: Apache-2.0
"""Judges of programs: tests of a row, runs in a sandbox, verdicts. Imports no torch.

    read_row({"verification_info": {...}})  ->  ProgramTests     await judge_program(...)  ->  [AC, WA, TLE]

`cases` tests as data sets hold them · `programs` finds programs and runs them on the tests, within a budget ·
`compare`, `functions` outputs and results · `checkers` programs of a task's author · `verdict` · `ioi`,
`codeforces` contests · `patches` for old programs · `__main__` one program by hand.
"""
