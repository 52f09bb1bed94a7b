# SPDX-License-Identifier: Apache-2.0
"""Programs that judges put into the box of a submission."""
