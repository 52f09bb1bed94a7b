# SPDX-License-Identifier: Apache-2.0
"""Rows on disk: sources, layouts, and data folders with a card that says where the rows came from."""
