# SPDX-License-Identifier: Apache-2.0
"""Cards: what is written, what is not (secrets), licences, fingerprints, a README that hostile text can't break."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard

from open_r1.data.card import (
    DataCard,
    Parent,
    Step,
    declared_licence,
    header_licence,
    inherited_licence,
    read_card,
)
from open_r1.secret_names import command_line, hide_secrets, is_secret_name, note_secrets, shell_line

FILES = {"default": {"train": "data/train-*.parquet"}}
TOKEN = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF2g"
HOSTILE = "a\n---\nlicense: mit\n---\n| b | `c` <script>x</script> ![i](http://x) é \r\n# d"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["s.py", "--api-key", "abc", "--model", "m"], "python s.py --api-key *** --model m"),
        (["s.py", "--api_key=abc"], "python s.py '--api_key=***'"),
        (["s.py", "--hf-token", "abc"], "python s.py --hf-token ***"),
        (["s.py", "--token", "abc", "--max-tokens", "100"], "python s.py --token *** --max-tokens 100"),
        (["s.py", "--api-key-env", "MY_KEY"], "python s.py --api-key-env MY_KEY"),
        (["s.py", "--api-key", "--model"], "python s.py --api-key --model"),
        (["s.py", "--name", f"hf_{TOKEN}"], "python s.py --name ***"),
        (["s.py", "--name", f"sk-{TOKEN}"], "python s.py --name ***"),
        (["s.py", "--in", f"hf_datasets/x/hf_{TOKEN}/y"], f"python s.py --in hf_datasets/x/hf_{TOKEN}/y"),
        (["s.py", "--in", "hf_checkpoint1", "sk-learn-rows"], "python s.py --in hf_checkpoint1 sk-learn-rows"),
        (["s.py", "--url", "https://user:pass@host/v1"], "python s.py --url 'https://***@host/v1'"),
        (["s.py", "--header", "Authorization: Bearer abc.def"], "python s.py --header 'Authorization: ***'"),
        (["s.py", "--eos-token", "<|im_end|>"], "python s.py --eos-token '<|im_end|>'"),
        (["s.py", "--name", "a b"], "python s.py --name 'a b'"),
        (["/elsewhere/tools/s.py", "--n", "1"], "python s.py --n 1"),
        ([], "python ''"),
    ],
)
def test_command_line_has_no_secrets(monkeypatch, tmp_path, arguments, wanted):
    monkeypatch.chdir(tmp_path)
    assert command_line(arguments) == wanted


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--args", "--hub_token secret --seed 1"], "--args '--hub_token *** --seed 1'"),
        (["--args=--a 1 --hub-token='my secret'"], "'--args=--a 1 --hub-token=***'"),
        (["--args=--hub_token", "--max_tokens 5"], "--args=--hub_token '--max_tokens 5'"),
        (["--eos_token=<|im_end|>"], "'--eos_token=<|im_end|>'"),
        (["--args=--eos_token=<|im_end|>"], "'--args=--eos_token=<|im_end|>'"),
        (["--args", "--pad-token=a --min_new_token=5"], "--args '--pad-token=a --min_new_token=5'"),
        (["--args=--eos_token=a;--hub_token=secret"], "'--args=--eos_token=a;--hub_token=***'"),
        (["http://host?access_token=secret&image_token=a"], "'http://host?access_token=***&image_token=a'"),
        (["HF_TOKEN=secret", "token=secret"], "'HF_TOKEN=***' 'token=***'"),
        (["--", "--hub_token=secret --x 8"], "-- '--hub_token=*** --x 8'"),
        (["--password=my secret -", "--hub_token=secret\n--x=8"], "'--password=***' '--hub_token=***\n--x=8'"),
        (["--extra-body", '{"api_key": "my secret", "n": 1}'], """--extra-body '{"api_key": ***, "n": 1}'"""),
        (['--extra-body={"a": {"auth_key":"secret"}}'], """'--extra-body={"a": {"auth_key":***}}'"""),
        (['{"x": "{\\"api_key\\": \\"secret\\"}"}'], """'{"x": "{\\"api_key\\": ***}"}'"""),
        (["env", "OPENAI_API_KEY=secret", "python"], "env 'OPENAI_API_KEY=***' python"),
        (["X-Api-Key: secret", "authorization: Basic secret"], "'X-Api-Key: ***' 'authorization: ***'"),
        (["https://host/3f2504e04f8911d39a0c0305e82c3301/v1"], "'https://host/***/v1'"),
        (["https://host/sk-proj-abcdefghijklmnopqrstuv/v1?a=1"], "'https://host/***/v1?a=1'"),
        (
            ["https://host/v1/models/deepseek-r1-distill-qwen-32b"],
            "https://host/v1/models/deepseek-r1-distill-qwen-32b",
        ),
        (["--api-key", "secret", "a b"], "--api-key *** 'a b'"),
        (["http://user:secret@proxy:3128"], "'http://***@proxy:3128'"),
        (
            ["--system_prompt=the - token = secret of --max_tokens 5"],
            "'--system_prompt=the - token = secret of --max_tokens 5'",
        ),
    ],
)
def test_line_for_a_shell_has_no_secrets_also_within_words(words, shown):
    assert shell_line(words) == shown


def test_secrets_of_the_environment_are_hidden_wherever_they_are(monkeypatch):
    monkeypatch.setenv("MY_SERVICE_API_KEY", "s3cret-value")
    monkeypatch.setenv("SHORT_TOKEN", "a")
    value = {"note": "with s3cret-value inside", "list": ["s3cret-value", 1, None], "a": "a"}
    assert hide_secrets(value) == {"note": "with *** inside", "list": ["***", 1, None], "a": "a"}


def test_secrets_that_were_noted_are_hidden_also_as_a_url_spells_them():
    note_secrets({"headers": {"api_key": "noted/secret 1"}, "n": "not noted at all"})
    assert hide_secrets("to /login?k=noted%2Fsecret%201 and noted/secret 1") == "to /login?k=*** and ***"
    assert hide_secrets("not noted at all") == "not noted at all"


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [("api_key", True), ("--api-key", True), ("HF_TOKEN", True), ("hub_token", True), ("password", True),
     ("OPENAI_API_KEY", True), ("client_secret", True), ("max_tokens", False), ("eos_token", False),
     ("num_tokens", False),
     ("api_key_env", False), ("uuid_column", False), ("key", False), ("tokenizer", False), ("monkey", False)],
)  # fmt: skip
def test_secret_names(name, is_secret):
    assert is_secret_name(name) is is_secret


def test_secrets_reach_neither_card_nor_readme(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["s.py", "--api-key", "verysecret"])
    card = DataCard("x", {"api_key": "verysecret", "model": "m"}, teacher={"url": "http://u:verysecret@host"})
    assert "verysecret" not in card.to_json() + card.readme(FILES)
    assert card.fingerprint() == DataCard("x", {"api_key": "another", "model": "m"}).fingerprint()


def test_card_comes_back_as_it_was(tmp_path):
    parent = Parent("p", "c", "train[:3]", "main", "abc", 3, "mit", {"name": "older", "parents": []})
    card = DataCard(
        "x",
        {"n": 1},
        [parent],
        "python s.py",
        [Step("s", 3, 2, {"why": "é\ud800"})],
        {"model": "t"},
        {"temperature": 0.6},
        {"found": 1},
        "mit",
        ["note"],
        {"train": 2},
        ["r.json"],
    )
    (tmp_path / "card.json").write_text(card.to_json())
    assert dataclasses.asdict(read_card(tmp_path)) == dataclasses.asdict(card)


@pytest.mark.parametrize(
    "text", ["", "{", "[]\n[]", '{"settings": {}}', '{"settings": {}, "parents": [1], "steps": []}', "\x00"]
)
def test_damaged_card_is_an_error(tmp_path, text):
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(ValueError, match=r"card\.json"):
        read_card(tmp_path)


@pytest.mark.parametrize("text", ['{"other": 1}', "[]", "null"])
def test_card_of_somebody_else_is_none(tmp_path, text):
    (tmp_path / "card.json").write_text(text)
    assert read_card(tmp_path) is None


@pytest.mark.parametrize("texts", [("a/hf_checkpoint1", "a/hf_checkpoint2"), (f"hf_{TOKEN}", f"hf_{TOKEN[::-1]}")])
def test_settings_that_look_like_secrets_tell_data_apart(tmp_path, texts):
    first, second = (DataCard("x", {"model": text}, [Parent(text)]) for text in texts)
    (tmp_path / "card.json").write_text(first.to_json())
    found = read_card(tmp_path)
    assert found.fingerprint() == first.fingerprint() != second.fingerprint()


def test_fingerprint_is_of_what_json_keeps():
    settings = {"path": Path("a/b"), "set": {"b", "a", "c"}, "numbers": {2: 1, 10: (1, 2)}, "none": None}
    plain = {"path": "a/b", "set": ["a", "b", "c"], "numbers": {"2": 1, "10": [1, 2]}, "none": None}
    assert DataCard("x", settings).fingerprint() == DataCard("y", plain).fingerprint()
    assert DataCard("x", settings).fingerprint() != DataCard("x", {**plain, "none": 0}).fingerprint()


def test_parent_counts_by_contents_and_else_by_name():
    moved = [Parent("old/place", fingerprint="abc"), Parent("new/place", "c", "test", fingerprint="abc")]
    assert len({DataCard("x", {}, [parent]).fingerprint() for parent in moved}) == 1
    unknown = [Parent("a"), Parent("b"), Parent("a", revision="v2")]
    assert len({DataCard("x", {}, [parent]).fingerprint() for parent in unknown}) == 3


@pytest.mark.parametrize(
    ("licences", "wanted"),
    [
        ([], "unknown"),
        ([None], "unknown"),
        (["mit"], "mit"),
        (["mit", "mit"], "mit"),
        (["mit", "apache-2.0"], "apache-2.0 AND mit"),
        (["mit", None], "mit AND unknown"),
        (["mit AND apache-2.0", "mit"], "apache-2.0 AND mit"),
    ],
)
def test_licence_is_inherited(licences, wanted):
    assert inherited_licence([Parent("p", licence=licence) for licence in licences]) == wanted


@pytest.mark.parametrize(
    ("licence", "header"),
    [
        ("mit", {"license": "mit"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("unknown", {}),
        ("mit AND unknown", {}),
        ("apache-2.0 AND mit", {"license": ["apache-2.0", "mit"]}),
        ("My terms", {"license": "other", "license_name": "My terms"}),
    ],
)
def test_header_names_licences_as_the_hub_knows_them(licence, header):
    assert header_licence(licence) == header


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlicense: mit\n---\n# x", "mit"),
        ("---\nlicense: [mit, cc-by-4.0]\n---\n", "mit AND cc-by-4.0"),
        ("---\nlicense: other\nlicense_name: mine\n---\n", "mine"),
        ("# no header", None),
        ("---\n- a\n---\n", None),
        ("---\n: [\n---\n", None),
        ("---\nother: 1\n---\n", None),
        ("", None),
        ("---\nlicense: mit\n", None),
    ],
)
def test_licence_is_read_from_a_readme(tmp_path, readme, licence):
    (tmp_path / "README.md").write_text(readme)
    assert declared_licence(str(tmp_path), None) == licence


def test_name_on_the_hub_that_was_never_loaded_declares_nothing():
    assert declared_licence("nobody/nothing", None) is None
    assert declared_licence("tasks/countdown/../x y", None) is None


def test_hostile_text_breaks_neither_header_nor_tables():
    parent = Parent(
        HOSTILE, HOSTILE, HOSTILE, HOSTILE, "f", 1, HOSTILE, {"name": "x", "contamination": {HOSTILE: HOSTILE}}
    )
    card = DataCard(
        HOSTILE,
        {HOSTILE: HOSTILE},
        [parent],
        HOSTILE,
        [Step(HOSTILE, 2, 1, {HOSTILE: [HOSTILE]})],
        {HOSTILE: HOSTILE},
        {HOSTILE: 1},
        None,
        None,
        [HOSTILE],
        {"train": 1},
        [HOSTILE],
    )
    text = card.readme(FILES)
    found = DatasetCard(text)
    header, body = found.data.to_dict(), found.text
    assert header["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}
    ]
    assert header["license"] == "other"
    assert "<script" not in body
    assert "![" not in re.sub(r"```json\n.*?\n```", "", body, flags=re.DOTALL)
    lines = body.splitlines()
    assert "---" not in lines
    assert next(line for line in lines if line.startswith("#")).endswith("# d")
    assert [line for line in lines if line.startswith("```")] == ["```json", "```"]


def test_readme_has_the_ancestors_and_what_was_found_in_them():
    oldest = Parent("org/oldest", fingerprint="f0", licence="mit")
    parent_card = DataCard("clean", {}, [oldest], contamination={"rows": 3}).summary()
    card = DataCard("x", {}, [Parent("data/clean", fingerprint="f1", card=parent_card)])
    found = json.loads(re.search(r"```json\n(.*)\n```", card.readme(FILES), re.DOTALL)[1])
    assert found["parents"][0]["card"]["contamination"] == {"rows": 3}
    assert found["parents"][0]["card"]["parents"][0]["name"] == "org/oldest"
