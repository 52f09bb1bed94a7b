# SPDX-License-Identifier: Apache-2.0
"""Serve a small model's chat completions on this machine, in batches: for the pipeline of recipes/demo.

    python scripts/serve_transformers.py --model_id data/demo/grpo --port 8000

It reads messages, temperature, top_p, max_tokens and seed, on 127.0.0.1 alone. For anything else there is
`transformers serve`, which answers one request at a time on a CPU.
"""

import argparse
from typing import TYPE_CHECKING

from aiohttp import web

from open_r1.generation.messages import Request, Sampling

if TYPE_CHECKING:
    from open_r1.generation.transformers_here import TransformersHere

_FIELDS = ("temperature", "top_p", "max_tokens", "seed")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_id", required=True, metavar="MODEL", help="folder, or name on the hub")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--max_batch_size", type=int, metavar="N", help="answers at a time (default: 16)")
    return parser


def build_app(model_id: str, here: "TransformersHere") -> web.Application:
    """Return the server of a model."""
    card = {"id": model_id, "object": "model", "owned_by": "transformers", "root": here.path}
    card |= {"max_model_len": here.sampler.max_model_len}

    def refusal(message: str | None) -> web.Response:
        return web.json_response({"error": {"message": message, "code": 400}}, status=400)

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [card]})

    async def chat(request: web.Request) -> web.Response:
        try:
            body = await request.json()
            sampling = Sampling(**{name: body[name] for name in _FIELDS if name in body})
            asked = Request("", 0, body["messages"], sampling=sampling)
        except (ValueError, KeyError, TypeError) as error:  # no JSON, no messages, a value out of its range
            return refusal(f"{type(error).__name__}: {error}")
        reply = await here.ask_one(asked)
        if reply.text is None:
            return refusal(reply.error)
        message = {"role": "assistant", "content": reply.text}
        choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
        return web.json_response({"model": model_id, "choices": [choice], "usage": dict(reply.usage)})

    app = web.Application()
    app.add_routes([web.get("/v1/models", models), web.get("/health", models), web.post("/v1/chat/completions", chat)])
    return app


def main(argv: list[str] | None = None) -> None:
    """Serve until Ctrl-C."""
    args = build_parser().parse_args(argv)
    from open_r1.generation.transformers_here import TransformersHere  # torch takes seconds to import

    here = TransformersHere.load(args.model_id, max_batch_size=args.max_batch_size)
    web.run_app(build_app(args.model_id, here), host="127.0.0.1", port=args.port, handler_cancellation=True)


if __name__ == "__main__":
    main()
