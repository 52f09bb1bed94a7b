# SPDX-License-Identifier: Apache-2.0
"""Rows of a data set judged, chosen and cleaned: contamination, duplicates, quality, difficulty; imports no torch."""
