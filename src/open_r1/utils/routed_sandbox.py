# SPDX-License-Identifier: Apache-2.0
"""Client of a router under Open R1's import path."""

from open_r1.sandbox.execute_batch import RoutedSandbox as RoutedSandbox
