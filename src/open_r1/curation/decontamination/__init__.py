# SPDX-License-Identifier: Apache-2.0
"""Rows that share text with benchmarks: found in one pass over the rows, with one index of all benchmarks.

`matching.py` lists what is not seen through, `index.py` says what is boilerplate.
"""
