# SPDX-License-Identifier: Apache-2.0
"""What is said where the kernel can't confine programs by Landlock."""

import pytest

from open_r1.sandbox.local import landlock


def test_version_that_lets_files_be_cut_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_ask_version", lambda: (2, 0))

    assert "version 2 here, and 3 is needed: Linux 6.2" in str(landlock.why_not())


@pytest.mark.parametrize(("error", "advice"), [(38, "isn't in this kernel"), (95, "add `landlock` to the kernel's")])
def test_missing_landlock_is_explained(error: int, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_ask_version", lambda: (-1, error))

    assert advice in str(landlock.why_not())


def test_signals_are_confined_by_the_filter_where_the_kernel_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = {}
    for version in (5, 6):
        monkeypatch.setattr(landlock, "version", lambda found=version: found)
        settings = landlock.settings(["/opt"])
        programs[version] = settings["program_filter"]

    assert len(str(programs[5])) > len(str(programs[6]))
