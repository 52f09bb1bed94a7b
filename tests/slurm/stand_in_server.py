# SPDX-License-Identifier: Apache-2.0
"""Stands in for vLLM where a test is about its life: `vllm=(python stand_in_server.py KIND)` in the site's file.

Kinds: "serves"; "loads" answers 503 for ever; "dies" ends with status 7.
"""

import argparse
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answers(BaseHTTPRequestHandler):
    """Health, and the same completion for everybody."""

    status = 200

    def do_GET(self) -> None:
        self._send({})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send({"choices": [{"text": " a stand-in"}]})

    def _send(self, answer: dict) -> None:
        body = json.dumps(answer).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("kind", choices=["serves", "loads", "dies"])
    parser.add_argument("words", nargs=2, metavar="serve MODEL")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments, _ = parser.parse_known_args()
    if arguments.kind == "dies":
        print("no memory for 1 expert of ümlaut", flush=True)
        return 7
    Answers.status = 503 if arguments.kind == "loads" else 200
    ThreadingHTTPServer((arguments.host, arguments.port), Answers).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
