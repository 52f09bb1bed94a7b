# SPDX-License-Identifier: Apache-2.0
"""Answers by a transformers model in batches, or by the vLLM that GRPO trains with."""
