# SPDX-License-Identifier: Apache-2.0
"""Rows on disk: reading what is there, and folders of our own with a card that says where the rows came from."""
