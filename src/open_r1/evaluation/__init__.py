# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a policy by sampling and scoring with the rewards it is trained on."""
