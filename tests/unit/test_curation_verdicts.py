# SPDX-License-Identifier: Apache-2.0
"""Verdicts on disk: kept, resumed behind half a line, and refused where they are of other rows."""

import pytest

from open_r1.curation.curate import Verdicts

SETTINGS = {"inputs": ["a1b2"], "verifier": "c3d4"}
RIGHT, WRONG = "<think>\n6 * 7\n</think>\n\n\\boxed{42}", "\\boxed{41}"


def rows(*entries):
    names = ("row", "generation_index", "solution", "completion")
    common = {"finish_reason": "stop", "problem": "6 * 7?"}
    return iter([dict(zip(names, entry, strict=True)) | common for entry in entries])


def verdicts(path, settings=SETTINGS, overwrite=False):
    return Verdicts(path, settings, overwrite=overwrite)


@pytest.mark.parametrize("cut", [0, 1, 5, 20, 100])
def test_verdicts_are_kept_behind_half_a_line_and_not_given_again(tmp_path, cut):
    path = tmp_path / "verdicts.jsonl"
    first = verdicts(path)
    first.judged(rows((0, 0, "42", RIGHT), (0, 1, "42", WRONG)))
    first.judged(rows((7, 0, "", RIGHT)))
    path.write_bytes(path.read_bytes()[: -cut or None])
    again = verdicts(path)
    assert again.known.items() <= first.known.items()
    # What is known stays, whatever the row holds now.
    found = again.judged(rows((0, 0, "42", WRONG), (7, 0, "", RIGHT), (9, 0, "42", RIGHT)))
    assert found[0, 0] == ("right" if cut < 100 else "wrong")
    assert (found[7, 0], found[9, 0]) == ("unverifiable", "right")
    assert verdicts(path).known == found


def test_verdicts_of_other_rows_are_refused(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    verdicts(path).judged(rows((0, 0, "42", RIGHT)))
    with pytest.raises(ValueError, match="--overwrite"):
        verdicts(path, SETTINGS | {"verifier": "e5f6"})
    assert verdicts(path, SETTINGS | {"verifier": "e5f6"}, overwrite=True).known == {}
