# SPDX-License-Identifier: Apache-2.0
"""`scripts/serve_transformers.py`: it answers, ends by Ctrl-C, and refuses before a model loads."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from scripts.serve_transformers import main
from tests.integration.tiny import build_tiny

ROOT = Path(__file__).resolve().parents[2]


def test_it_answers_and_ctrl_c_ends_it(tmp_path):
    model = build_tiny(tmp_path).model
    words = [sys.executable, ROOT / "scripts" / "serve_transformers.py", "--model_id", model, "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        url = re.search(r"is at (http://127\.0\.0\.1:\d+/v1)", line).group(1)
        with urllib.request.urlopen(f"{url}/models", timeout=60) as reply:
            assert json.load(reply)["data"][0]["id"] == str(model)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_packages_are_imported(tmp_path, monkeypatch, number):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "open_r1.evaluation.transformers_server":
                os.kill(os.getpid(), number)

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.delitem(sys.modules, "open_r1.evaluation.transformers_server", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    before = [(one, signal.getsignal(one)) for one in (signal.SIGINT, signal.SIGTERM)]
    try:
        assert main(["--model_id", str(tmp_path), "--port", "0"]) == 0
    finally:
        for one, handler in before:
            signal.signal(one, handler)


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_what_is_no_port_is_refused(port, tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    assert main(["--model_id", str(tmp_path), f"--port={port}"]) == 1
    assert f"The port is {port}; it must be from 0" in capsys.readouterr().err


def test_a_port_that_is_taken_is_refused(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--model_id", str(tmp_path), "--port", str(port)]) == 1
    assert f"Nothing can listen on port {port}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["data/no/such", "data/nope"])
def test_a_mistyped_folder_is_refused(name, capsys):
    assert main(["--model_id", name]) == 1
    assert f"There is no folder '{name}'" in capsys.readouterr().err
