# SPDX-License-Identifier: Apache-2.0
"""The place of Open R1's script: hands on to `scripts/compute_pass_rate.py`."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).parents[1] / "compute_pass_rate.py"), run_name="__main__")
