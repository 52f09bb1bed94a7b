# SPDX-License-Identifier: Apache-2.0
"""Programs that run beside a submission in its box: standard library only, Python 3.8 and later."""
