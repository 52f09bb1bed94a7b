# SPDX-License-Identifier: Apache-2.0
"""Takes 1 GiB in one process."""

from attacking import broken, report

kept = []
try:
    for _ in range(64):
        kept.append(b"x" * (16 << 20))
except MemoryError:
    pass
if len(kept) == 64:
    broken("1 GiB in one process")
report()
