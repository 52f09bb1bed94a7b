# SPDX-License-Identifier: Apache-2.0
"""A trainer's way to a router, on a node of its own: `router_client.py ADDRESS` says what a program printed."""

import sys

from open_r1.generation.servers import answers
from open_r1.sandbox import ProgramInput, RunRequest, run_all
from open_r1.sandbox.providers import build_sandbox

address = sys.argv[1]
print("healthy" if answers(f"http://{address}/health") else "not healthy")
request = RunRequest("python", {"main.py": "print(int(input()) * 2)"}, (ProgramInput("21"),))
(result,) = run_all([request], build_sandbox("router", router_url=address), 1)
print(f"printed {result.tests[0].stdout.strip()}")
