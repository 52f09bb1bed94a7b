# SPDX-License-Identifier: Apache-2.0
"""Asking models for completions, over HTTP or in this process: restartable, every generation on its own; no torch."""
