# SPDX-License-Identifier: Apache-2.0
"""Landlock of older kernels, which confines no signals."""

import pytest

from open_r1.sandbox.local import landlock


def test_signals_are_confined_by_the_filter_where_the_kernel_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = {}
    for version in (5, 6):
        monkeypatch.setattr(landlock, "version", lambda found=version: found)
        settings = landlock.settings(["/opt"])
        programs[version] = settings["program_filter"]

    assert len(str(programs[5])) > len(str(programs[6]))
