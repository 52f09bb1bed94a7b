# SPDX-License-Identifier: Apache-2.0
"""Programs that are copied into a box, or in front of one."""
