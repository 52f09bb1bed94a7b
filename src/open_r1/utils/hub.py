# SPDX-License-Identifier: Apache-2.0
"""Pushes to the hub under Open R1's import path."""

from open_r1.training.hub import check_hub_revision_exists as check_hub_revision_exists
from open_r1.training.hub import push_to_hub_revision as push_to_hub_revision
