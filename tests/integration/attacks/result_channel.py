# SPDX-License-Identifier: Apache-2.0
"""Forges results: looks for the driver's descriptors and writes to all that it finds."""

import os
import stat

from attacking import TOLD, attempt, broken, report

FORGED = b'{"outcome":"ok","exit_code":0,"signal":null,"cpu_s":0,"wall_s":0,"peak_memory_mb":0,"stdout":2}\n42'

for number in range(3, 1024):
    try:
        kind = stat.S_IFMT(os.fstat(number).st_mode)
    except OSError:
        continue
    if TOLD["in_box"]:
        broken(f"descriptor {number} of kind {kind:o} is open")
    if kind == stat.S_IFSOCK:
        attempt(f"write to descriptor {number}", os.write, number, FORGED)
for pid in (1, os.getppid()):
    for number in range(64):
        attempt(f"open descriptor {number} of {pid}", os.open, f"/proc/{pid}/fd/{number}", os.O_WRONLY)
for number in (0, 1, 2):
    attempt(f"read back from {number}", os.read, number, 1) if number else None
    if stat.S_ISSOCK(os.fstat(number).st_mode):
        broken(f"standard descriptor {number} is a socket")
os.write(1, FORGED + b"\n")
os.write(2, FORGED + b"\n")
report()
