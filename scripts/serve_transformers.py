# SPDX-License-Identifier: Apache-2.0
"""Serve a small model's chat completions on this machine, in batches: for the pipeline of recipes/demo.

    python scripts/serve_transformers.py --model_id data/demo/grpo --port 8000

It reads messages, temperature, top_p, max_tokens and seed, on 127.0.0.1 alone. For anything else there is
`transformers serve`, which answers one request at a time on a CPU.
"""

import argparse

from aiohttp import web

from open_r1.generation.messages import Request, Sampling

_FIELDS = ("temperature", "top_p", "max_tokens", "seed")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_id", required=True, metavar="MODEL", help="folder, or name on the hub")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--max_batch_size", type=int, metavar="N", help="answers at a time (default: 16)")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Serve until Ctrl-C."""
    args = build_parser().parse_args(argv)
    from open_r1.generation.transformers_here import TransformersHere  # torch takes seconds to import

    here = TransformersHere.load(args.model_id, max_batch_size=args.max_batch_size)
    card = {"id": args.model_id, "object": "model", "owned_by": "transformers", "root": here.path}
    card |= {"max_model_len": here.sampler.max_model_len}

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [card]})

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        sampling = Sampling(**{name: body[name] for name in _FIELDS if name in body})
        reply = await here.ask_one(Request("", 0, body["messages"], sampling=sampling))
        if reply.text is None:
            return web.json_response({"error": {"message": reply.error, "code": 400}}, status=400)
        message = {"role": "assistant", "content": reply.text}
        choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
        return web.json_response({"model": args.model_id, "choices": [choice], "usage": dict(reply.usage)})

    app = web.Application()
    app.add_routes([web.get("/v1/models", models), web.get("/health", models), web.post("/v1/chat/completions", chat)])
    web.run_app(app, host="127.0.0.1", port=args.port, handler_cancellation=True)


if __name__ == "__main__":
    main()
