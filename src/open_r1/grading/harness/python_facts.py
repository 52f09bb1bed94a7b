# SPDX-License-Identifier: Apache-2.0
"""Print what decides verdicts on Python programs in this box, as a line of JSON."""

import importlib.util
import json
import platform
import sys

HAS_NUMPY = importlib.util.find_spec("numpy") is not None
sys.stdout.write(json.dumps({"python": platform.python_version(), "has_numpy": HAS_NUMPY}) + "\n")
