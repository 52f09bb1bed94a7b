# SPDX-License-Identifier: Apache-2.0
"""The HTTP side of `transformers_server.py`: /v1/chat/completions, /v1/completions, /v1/models, /version, /health."""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from open_r1.evaluation.completion_protocol import BadRequestError, Reader
from open_r1.evaluation.waiting_line import SamplerFailedError, WaitingLine

MOST_BYTES = 1 << 26  # of a body


def build_app(
    reader: Reader, line: WaitingLine, model: str, root: str, described: Mapping[str, str]
) -> web.Application:
    """Return the application.

    Args:
        reader: Of bodies.
        line: Takes what they ask for.
        model: Name of the model.
        root: Where it was loaded from.
        described: What serves it, for /version.
    """
    pages = _Pages(reader, line, model, root, described)
    app = web.Application(client_max_size=MOST_BYTES, middlewares=[_errors_as_json])
    app.router.add_get("/health", pages.health)
    app.router.add_get("/version", pages.version)
    app.router.add_get("/v1/models", pages.models)
    app.router.add_post("/v1/chat/completions", pages.chat)
    app.router.add_post("/v1/completions", pages.completions)
    return app


class _Pages:
    def __init__(self, reader: Reader, line: WaitingLine, model: str, root: str, described: Mapping[str, str]) -> None:
        self._reader, self._line, self._model, self._described = reader, line, model, dict(described)
        self._card = {
            "id": model,
            "object": "model",
            "created": int(time.time()),
            "owned_by": described["engine"],
            "root": root,
            "max_model_len": reader.max_model_len,
        }

    async def health(self, request: web.Request) -> web.Response:
        self._refuse_in_trouble()
        return web.Response()

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response(self._described)

    async def models(self, request: web.Request) -> web.Response:
        self._refuse_in_trouble()
        return web.json_response({"object": "list", "data": [self._card]})

    async def chat(self, request: web.Request) -> web.Response:
        return await self._answer(request, is_chat=True)

    async def completions(self, request: web.Request) -> web.Response:
        return await self._answer(request, is_chat=False)

    async def _answer(self, request: web.Request, *, is_chat: bool) -> web.Response:
        self._refuse_in_trouble()
        content = await request.read()
        try:
            body = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise BadRequestError(f"The body is no JSON: {error}.") from error
        asked = self._reader.read(body, is_chat=is_chat)
        answers = await self._line.ask(asked.requests)
        return web.json_response(asked.reply(self._model, answers))

    def _refuse_in_trouble(self) -> None:
        if self._line.trouble is not None:
            raise web.HTTPServiceUnavailable(text=f"Nothing is sampled any more: {self._line.trouble}.")


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadRequestError as error:
        return _error(error.status, str(error))
    except SamplerFailedError as error:
        return _error(500, str(error))
    except web.HTTPException as error:
        return _error(error.status, error.text or error.reason)


def _error(status: int, message: str) -> web.Response:
    kind = "BadRequestError" if status < 500 else "InternalServerError"
    body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": None, "code": status}}
    return web.json_response(body, status=status)
