# SPDX-License-Identifier: Apache-2.0
"""The cell that a notebook kernel in a rented box runs; its last line, the call with the script, is added."""

import subprocess
import sys


def run_script(script):
    """Run a shell script in a process of its own and print what it prints."""
    process = subprocess.Popen(["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = process.communicate(script.encode())
    sys.stdout.write(output.decode("utf-8", "replace"))
