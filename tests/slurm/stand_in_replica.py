# SPDX-License-Identifier: Apache-2.0
"""Stands in for vLLM where a test is about a service, not a model: `vllm=(python stand_in_replica.py KIND)`.

Kinds: "answers" completes every text with the name of its node; "mute" refuses to; "silent" leaves all chats waiting;
a number: the first attempt of a job answers so many chats and leaves all others waiting. After POST /break it refuses
to complete, after POST /hang it leaves completions waiting; it says that it is healthy all the same. Like vLLM it
refuses requests without the key in VLLM_API_KEY.
"""

import argparse
import itertools
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answers(BaseHTTPRequestHandler):
    """The part of the OpenAI API that routers and our clients ask for."""

    name = ""
    model = ""
    is_mute = False
    is_hanging = False
    most_chats: float = float("inf")
    numbers = itertools.count()

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send({})
        elif self._is_stranger():
            self._send({"error": "Unauthorized"}, 401)
        elif self.path == "/metrics":  # of vLLM, as far as the job reads them
            self._write(b'vllm:generation_tokens_total{model_name="m"} 7\n')
        else:
            self._send({"object": "list", "data": [{"id": self.model, "object": "model", "max_model_len": 2048}]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path in ("/break", "/hang"):
            Answers.is_mute, Answers.is_hanging = self.path == "/break", self.path == "/hang"
            self._send({})
        elif self._is_stranger():
            self._send({"error": "Unauthorized"}, 401)
        elif self.is_hanging:
            threading.Event().wait()
        elif self.is_mute:
            self._send({"error": "no ümlauts today"}, 500)
        elif self.path == "/v1/completions":
            self._send(self._completion({"text": self.name}))
        else:
            print("a chat", flush=True)
            if next(self.numbers) >= self.most_chats:
                threading.Event().wait()
            message = {"message": {"role": "assistant", "content": self.name}}
            self._send(self._completion(message, json.loads(body).get("n") or 1))

    def _is_stranger(self) -> bool:
        key = os.environ.get("VLLM_API_KEY")
        return bool(key) and self.path.startswith("/v1") and self.headers["Authorization"] != f"Bearer {key}"

    def _completion(self, content: dict, count: int = 1) -> dict:
        usage = {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": 1 + count}
        choices = [{"index": index, "finish_reason": "stop", **content} for index in range(count)]
        return {"id": "x", "object": "x", "created": 1, "model": self.model, "choices": choices, "usage": usage}

    def _send(self, answer: dict, status: int = 200) -> None:
        self._write(json.dumps(answer, ensure_ascii=False).encode(), status)

    def _write(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("kind")
    parser.add_argument("words", nargs=2, metavar="serve MODEL")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments, _ = parser.parse_known_args()
    Answers.name, Answers.model = os.environ["SLURMD_NODENAME"], arguments.words[1]
    Answers.is_mute = arguments.kind == "mute"
    if arguments.kind == "silent":
        Answers.most_chats = 0
    if arguments.kind.isdigit() and "SLURM_RESTART_COUNT" not in os.environ:
        Answers.most_chats = int(arguments.kind)
    ThreadingHTTPServer((arguments.host, arguments.port), Answers).serve_forever()


if __name__ == "__main__":
    main()
