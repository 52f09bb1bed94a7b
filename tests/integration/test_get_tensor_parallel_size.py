# SPDX-License-Identifier: Apache-2.0
"""`scripts/get_tensor_parallel_size.py` as a shell calls it: numbers alone on stdout, heads from a hub."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "scripts" / "get_tensor_parallel_size.py"
CONFIG = {"num_attention_heads": 96, "num_key_value_heads": 8}
COMMIT = "1" * 40


class Hub(BaseHTTPRequestHandler):
    """One model, as the files of the hub say."""

    def log_message(self, *args) -> None:
        """Stay silent."""

    def do_GET(self):
        if self.path == "/me/large/resolve/main/config.json":
            reply = CONFIG
        else:
            reply = None
        data = json.dumps(reply).encode()
        self.send_response(200 if reply else 404)
        headers = {"Content-Length": str(len(data)), "ETag": '"a"', "X-Repo-Commit": COMMIT}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET


@pytest.fixture
def ask(tmp_path):
    """Run the script with a hub that has one model; returns stdout of the process, which must succeed."""

    def run(*words, **variables):
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src"), "HF_HOME": str(tmp_path / "home")}
        return subprocess.run(
            [sys.executable, SCRIPT, *map(str, words)],
            env=environment | {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"} | variables,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield run
        server.shutdown()


def test_hub_tells_heads_and_what_is_cached_is_known_offline(ask):
    assert ask("--model_name", "me/large", "--gpus", "8") == "8 1\n"
    assert ask("--model_name", "me/large", "--default_tp", "6", HF_HUB_OFFLINE="1") == "2\n"


def test_torch_is_not_imported(ask, tmp_path):
    (tmp_path / "torch.py").write_text("raise AssertionError('torch is imported')")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    words = ("--model_name", tmp_path, "--default_tp", "8")
    assert ask(*words, PYTHONPATH=f"{ROOT / 'src'}:{tmp_path}") == "8\n"
