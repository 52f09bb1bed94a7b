# SPDX-License-Identifier: Apache-2.0
"""Who may use a router: who shows its token; without one, programs of this machine, and none of a web page's."""

import hmac
from urllib.parse import urlsplit

from starlette.requests import Request

from open_r1.sandbox.router import is_loopback
from open_r1.sandbox.router_gate import Refusal


def check_access(request: Request, token: str | None) -> None:
    """Refuse who may not use the router.

    Raises:
        Refusal: It's without the token (401); or there is none, and the request may be a web page's (403, 415).
    """
    headers = dict(request.scope["headers"])
    if token is None:
        _check_local(request.method, headers)
        return
    scheme, _, shown = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not hmac.compare_digest(shown.strip(), token.encode()):
        raise Refusal(401, "token", "This router wants its bearer token.")


def _check_local(method: str, headers: dict[bytes, bytes]) -> None:
    """Refuse what a browser on this machine might send for a page of somebody else's.

    Such a page's requests name it (Origin), or come under its own name where that resolves to this machine (Host).
    """
    try:
        host = urlsplit("//" + headers.get(b"host", b"").decode("latin-1")).hostname or ""
    except ValueError:
        host = ""
    if not is_loopback(host) or b"origin" in headers:
        raise Refusal(
            403,
            "request",
            "A router without a token serves programs of its own machine, under the names "
            "localhost, 127.0.0.1 and [::1]: start it with a token.",
        )
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if method == "POST" and content_type != b"application/json":
        raise Refusal(415, "request", "A request is application/json.")
