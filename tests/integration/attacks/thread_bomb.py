# SPDX-License-Identifier: Apache-2.0
"""Starts threads without end."""

import threading
import time

from attacking import broken, report

threading.stack_size(64 << 10)
count = 0
try:
    while count < 3000:
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
        count += 1
except RuntimeError:
    pass
if count >= 3000:
    broken(f"{count} threads")
report()
