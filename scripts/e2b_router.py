# SPDX-License-Identifier: Apache-2.0
"""The sandbox router in front of E2B, with its name and options in Open R1: see sandbox_router.py.

Unlike there, it listens on this machine only unless --host says otherwise, and then wants a token.
"""

import sys

from sandbox_router import main

if __name__ == "__main__":
    sys.exit(main(provider="e2b", port=8000))
