# SPDX-License-Identifier: Apache-2.0
"""Page of a run: curves, alarms, facts and rollouts in one HTML file that opens offline."""
