# SPDX-License-Identifier: Apache-2.0
"""Where Open R1's users import this client of a router from."""

from open_r1.sandbox.execute_batch import RoutedSandbox as RoutedSandbox
