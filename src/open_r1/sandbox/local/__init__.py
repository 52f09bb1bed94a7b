# SPDX-License-Identifier: Apache-2.0
"""Boxes on this machine."""

from open_r1.sandbox.local.sandbox import LocalSandbox

__all__ = ["LocalSandbox"]
