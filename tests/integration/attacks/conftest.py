# SPDX-License-Identifier: Apache-2.0
"""These programs attack whatever runs them: they go into boxes, and are never imported to look for tests."""

collect_ignore_glob = ["*.py"]
