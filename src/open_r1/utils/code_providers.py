# SPDX-License-Identifier: Apache-2.0
"""Sandboxes under Open R1's import path. Here they run requests with tests, not scripts that print a score."""

from open_r1.sandbox.base import Sandbox as CodeExecutionProvider
from open_r1.sandbox.providers import build_sandbox as get_provider

__all__ = ["CodeExecutionProvider", "get_provider"]
