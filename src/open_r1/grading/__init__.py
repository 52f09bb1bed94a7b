# SPDX-License-Identifier: Apache-2.0
"""Judging one program by its tests, in a sandbox. Imports no torch.

`verdict` what became of a test.
"""
