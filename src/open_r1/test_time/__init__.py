# SPDX-License-Identifier: Apache-2.0
"""Test-time compute: more tokens for the same model, by budget forcing, votes, best-of-N, beam search and DVTS."""
