# SPDX-License-Identifier: Apache-2.0
"""Ten hostile programs meet the walls of the local sandbox; all of them, on all walls: tests/integration."""

import os
import shutil

from tests.integration.attack_table import ATTACKS
from tests.integration.attack_users import copy_attacks, faults_of, run_in_process

NAMES = (
    "network", "parent_secrets", "key_files", "writing_outside", "foreign_signals", "result_channel", "next_tests",
    "fork_bomb", "cpu_loop", "flood_stdout",
)  # fmt: skip


def test_ten_attacks_are_contained_and_good_programs_beside_them_are_right(tmp_path):
    folder = copy_attacks(tmp_path)
    user = "root" if os.geteuid() == 0 else "user"
    reports = (run_in_process(user, mechanism, folder, *NAMES) for mechanism in ("bwrap", "landlock"))
    report = next(report for report in reports if "refused" not in report)  # by the first that this machine allows
    shutil.rmtree(folder)

    attacks = [attack for attack in ATTACKS if attack.name in NAMES]
    assert len(attacks) == 10
    assert [fault for attack in attacks for fault in faults_of(attack, report["attacks"][attack.name])] == []
    assert [run for run in report["neighbours"] if not run["is_right"]] == []
    assert report["harm"] == report["left"] == []
