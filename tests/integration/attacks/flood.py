# SPDX-License-Identifier: Apache-2.0
"""Writes 500 MB to a standard stream."""

import os
import sys

from attacking import TOLD

CHUNK = b"x" * (1 << 20)
stream = {"stdout": 1, "stderr": 2}[TOLD["role"]]
for _ in range(500):
    os.write(stream, CHUNK)
print("BROKEN: wrote 500 MB" if stream == 1 else "CONTAINED")
sys.stdout.flush()
