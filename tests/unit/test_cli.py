# SPDX-License-Identifier: Apache-2.0
"""What the command lines of the data scripts share: refusals, spellings, Ctrl-C, missing libraries."""

import pytest

from open_r1.data.cli import FlagParser, read_api_key, respelled
from scripts import compute_pass_rate, curate, decontaminate, generate_reasoning

MAINS = {
    "curate": (curate.main, "--input"),
    "decontaminate": (decontaminate.main, "--dataset"),
    "generate_reasoning": (generate_reasoning.main, "--dataset-name"),
    "compute_pass_rate": (compute_pass_rate.main, "--dataset_name"),
}


@pytest.mark.parametrize("name", ["curate", "decontaminate"])
def test_an_unknown_flag_is_refused_in_two_lines_with_the_nearest(name, capsys):
    main, flag = MAINS[name]
    with pytest.raises(SystemExit) as refused:
        main([flag, "x", "--overwrit"])
    said = capsys.readouterr().err
    assert refused.value.code == 2
    assert "did you mean --overwrite instead of --overwrit?" in said
    assert said.count("\n") == 2


def test_a_value_that_looks_like_nothing_has_no_suggestion(capsys):
    parser = FlagParser(description=None)
    parser.add_argument("--rows")
    with pytest.raises(SystemExit):
        parser.parse_args(["--zzzzzzzz", "5"])
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "separator", "expected"),
    [
        ("--max_tokens", "-", "--max-tokens"),
        ("--max-tokens=a-b_c", "_", "--max_tokens=a-b_c"),
        ("a_b-c", "-", "a_b-c"),
        ("-n_x", "-", "-n_x"),
        ("--a_b c", "-", "--a_b c"),
        ("--", "_", "--"),
    ],
)
def test_flags_are_respelled_and_values_are_not(word, separator, expected):
    assert respelled([word], separator) == [expected]


def test_a_key_is_read_from_the_variable_that_is_named(monkeypatch):
    monkeypatch.setenv("OPEN_R1_KEY", " secret\n")
    assert read_api_key("OPEN_R1_KEY") == "secret"
    assert read_api_key(None) is None
    monkeypatch.setenv("OPEN_R1_KEY", " ")
    with pytest.raises(ValueError, match="OPEN_R1_KEY"):
        read_api_key("OPEN_R1_KEY", flag="--api-key-env")


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("curate", "open_r1.curation.curate.curate"),
        ("decontaminate", "open_r1.curation.decontaminate.decontaminate"),
        ("compute_pass_rate", "scripts.compute_pass_rate.run"),
    ],
)
def test_ctrl_c_is_one_line(name, work, monkeypatch, tmp_path, capsys):
    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(work, stop)
    main, flag = MAINS[name]
    assert main([flag, "x", "--output_dir", str(tmp_path / "out")]) == 130
    said = capsys.readouterr().err
    assert "Stopped" in said and said.count("\n") == 1
