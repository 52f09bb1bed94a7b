# SPDX-License-Identifier: Apache-2.0
"""Looks at the servers of a job: what they serve, whether they complete a text, whether they stay healthy.

    python -m open_r1.cluster.serving_watch --model NAME --url http://node1:20000 --endpoints FILE --interval 300

Runs on a node as the work of `slurm/serve.slurm`: when it ends, the job does; with --once after the first look.

1. A server that misses three checks in a row ends the job, with its address; upstream printed a line and went on. A
   check asks for its health and for one token: a server may say that it's well and complete nothing. A full queue is
   no fault: neither a refusal for it, nor a token that doesn't come while others do.
"""

import argparse
import json
import logging
import os
import queue
import re
import signal
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from open_r1.generation.servers import answers

logger = logging.getLogger(__name__)

_PROMPT = "The capital of France is"
_MOST_MISSED = 3
_COMPLETION_S, _ANSWER_S = 600.0, 30.0  # the first completion may compile kernels
_QUEUE_S = 600.0  # for a token, behind all requests that came before
_REGISTRATION_S, _PAUSE_S, _FAREWELL_S = 300.0, 5.0, 15.0  # a router may be about to start
_BUSY = (408, 429, 503)  # what engines and routers say whose queues are full
# What vLLM has read and written, with each of its engines' steps.
_TOKENS = re.compile(r"^vllm:(?:prompt|generation)_tokens_total(?:\{.*\})? ([0-9.e+]+)", re.MULTILINE)


class ServerError(RuntimeError):
    """A server doesn't do what it should.

    Args:
        status: Of its HTTP answer; None: there was none.
        is_late: It has taken the request, and not answered in time.
    """

    def __init__(self, message: str, status: int | None = None, *, is_late: bool = False) -> None:
        super().__init__(message)
        self.status, self.is_late = status, is_late


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="what requests call the model")
    parser.add_argument("--url", action="append", required=True, help="of a server, without /v1; may be repeated")
    parser.add_argument("--router", help="URL of the router in front of them")
    parser.add_argument("--register-with", metavar="URL", help="a router elsewhere that is told of the servers")
    parser.add_argument("--endpoints", type=Path, metavar="FILE", help="where the addresses are written")
    parser.add_argument("--interval", type=float, default=300.0, help="seconds between checks (%(default)g)")
    parser.add_argument("--api-key-env", metavar="NAME", help="environment variable with the key")
    parser.add_argument("--once", action="store_true", help="end after the first look")
    return parser.parse_args()


def main() -> int:
    """Look, until a server fails; return the exit status."""
    args = parse_args()
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stdout,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the file below is removed
    key = os.environ.get(args.api_key_env) if args.api_key_env else None
    asked = [*args.url, *([args.router] if args.router else [])]
    is_registered = False
    try:
        for url in asked:
            try_out(url, args.model, key)
        if args.register_with:
            is_registered = True
            register(args.register_with, args.url)
        if args.once:
            return 0
        if args.endpoints is not None:
            write_endpoints(args)
        addresses = ",".join([args.router] if args.router else args.url)
        logger.info("%s is served; for our clients: --model %s --api-addr %s", args.model, args.model, addresses)
        watch(asked, args.model, key, args.interval)
    except ServerError as error:
        logger.error("%s", error)
        return 1
    finally:
        if args.endpoints is not None and not args.once:
            args.endpoints.unlink(missing_ok=True)
        if is_registered:
            deregister(args.register_with, args.url)
    return 0


def try_out(url: str, model: str, key: str | None) -> None:
    """List the models of a server, and have it complete a few words.

    Raises:
        ServerError: It doesn't serve the model, or doesn't complete.
    """
    try:
        listed = [entry["id"] for entry in ask(f"{url}/v1/models", key)["data"]]
        if model not in listed:
            raise ServerError(f"{url} serves {listed}, not {model!r}")
        asked = {"model": model, "prompt": _PROMPT, "max_tokens": 8, "temperature": 0}
        text = ask(f"{url}/v1/completions", key, asked, timeout_s=_COMPLETION_S)["choices"][0]["text"]
    except (KeyError, IndexError, TypeError) as error:
        raise ServerError(f"{url} answers something else than the OpenAI API: {error!r}") from error
    logger.info("%s serves %s: %r -> %r", url, ", ".join(listed), _PROMPT, text)


def ask(url: str, key: str | None = None, body: Any = None, *, timeout_s: float = _ANSWER_S) -> Any:
    """Return a server's JSON.

    Args:
        url: Of the request.
        key: Sent along, if there is one.
        body: Of a POST; None: a GET.
        timeout_s: For the answer.

    Raises:
        ServerError: There is no answer, or it isn't one.
    """
    request = _request(url, key, None if body is None else json.dumps(body).encode())
    try:
        # No proxy: nodes of the cluster are meant, whatever http_proxy says.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout_s) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        said = _words_of(error)
        raise ServerError(f"{url} answers with status {error.code}: {said}", error.code) from error
    except (OSError, HTTPException, ValueError) as error:
        is_late = isinstance(error, TimeoutError)  # in vain connected to: a URLError
        raise ServerError(f"{url} doesn't answer as it should: {error}", is_late=is_late) from error


def _request(url: str, key: str | None, data: bytes | None = None) -> urllib.request.Request:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    return urllib.request.Request(url, data=data, headers=headers)


def _words_of(error: urllib.error.HTTPError) -> str:
    try:
        return error.read(500).decode("utf-8", errors="replace")
    except (OSError, HTTPException) as broken:
        return f"(its words are lost: {broken})"


def register(router: str, urls: list[str]) -> None:
    """Tell a router of servers, as the routers of vLLM and SGLang are told, for five minutes if it must be.

    Raises:
        ServerError: It doesn't take them.
    """
    end = time.monotonic() + _REGISTRATION_S
    for url in urls:
        while (trouble := _tell(router, "add_worker", url, _COMPLETION_S)) is not None:
            if time.monotonic() > end:
                raise ServerError(f"the router at {router} doesn't take {url}: {trouble}")
            logger.warning("The router at %s doesn't take %s yet: %s", router, url, trouble)
            time.sleep(_PAUSE_S)
        logger.info("The router at %s knows of %s.", router, url)


def deregister(router: str, urls: list[str]) -> None:
    """Tell a router that servers go away. One that can't be told finds out by itself."""
    for url in urls:
        if (trouble := _tell(router, "remove_worker", url, _FAREWELL_S)) is not None:
            logger.warning("The router at %s could not be told that %s goes away: %s", router, url, trouble)


def _tell(router: str, what: str, url: str, timeout_s: float) -> str | None:
    """Return why a router can't be told, None when it was, or knows already: of a job that is back after its death."""
    address = f"{router.rstrip('/')}/{what}?url={urllib.parse.quote(url, safe='')}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(address, method="POST"), timeout=timeout_s):
            return None
    except urllib.error.HTTPError as error:
        said = _words_of(error)
        is_known = what == "add_worker" and error.code == 400 and "already exists" in said
        return None if is_known else f"{error}: {said}"
    except (OSError, HTTPException, ValueError) as error:
        return str(error)


def write_endpoints(args: argparse.Namespace) -> None:
    """Write where requests go, for other jobs: `urls` are those of the replicas, `router` is in front of them."""
    found = {
        "job_id": os.environ.get("SLURM_JOB_ID"),
        "attempt": int(os.environ.get("SLURM_RESTART_COUNT") or 0),
        "model": args.model,
        "router": args.router and f"{args.router}/v1",
        "urls": [f"{url}/v1" for url in args.url],
        "api_key_env": args.api_key_env,
    }
    part = args.endpoints.with_name(f"{args.endpoints.name}.part")
    part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    part.replace(args.endpoints)
    logger.info("Addresses: %s", args.endpoints)


def watch(urls: list[str], model: str, key: str | None, interval_s: float) -> None:
    """Look at all servers for ever, each by itself: one that is slow to answer doesn't keep us from the others.

    Args:
        urls: Base URLs.
        model: What they serve.
        key: Sent along, if there is one.
        interval_s: Seconds between checks.

    Raises:
        ServerError: One has failed three times in a row.
    """
    failures: queue.SimpleQueue[ServerError] = queue.SimpleQueue()
    for url in urls:
        looking = (url, model, key, interval_s, failures)
        threading.Thread(target=_watch_one, args=looking, daemon=True).start()
    raise failures.get()


def _watch_one(
    url: str, model: str, key: str | None, interval_s: float, failures: "queue.SimpleQueue[ServerError]"
) -> None:
    missed = 0
    while missed < _MOST_MISSED:
        time.sleep(interval_s)
        trouble = check(url, model, key)
        if trouble is None:
            if missed:
                logger.info("%s is healthy again.", url)
            missed = 0
        else:
            missed += 1
            logger.warning("%s, %d of %d times until the job ends.", trouble, missed, _MOST_MISSED)
    failures.put(ServerError(f"{url} has not been healthy for {_MOST_MISSED} checks, {interval_s:g} s apart"))


def check(url: str, model: str, key: str | None) -> str | None:
    """Return what is wrong with a server, None for one that is well: being busy is no fault."""
    if not answers(f"{url}/health"):
        return f"{url}/health gives no 200"
    before = count_tokens(url, key)
    try:
        asked = {"model": model, "prompt": _PROMPT, "max_tokens": 1, "temperature": 0}
        ask(f"{url}/v1/completions", key, asked, timeout_s=_QUEUE_S)
    except ServerError as error:
        if error.status in _BUSY:
            logger.warning("%s is busy: %s", url, error)
            return None
        if not error.is_late:
            return str(error)
        after = count_tokens(url, key)
        if before is not None and after is not None and after <= before:
            return f"{url} has completed nothing in {_QUEUE_S:.0f} s"
        logger.warning(
            "%s has given no token in %.0f s: %s.",
            url,
            _QUEUE_S,
            "it doesn't tell whether it works" if before is None or after is None else "its queue is long",
        )
    return None


def count_tokens(url: str, key: str | None) -> float | None:
    """Return how many tokens a server has read and written so far; None: it doesn't tell, as all but vLLM's."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(_request(f"{url}/metrics", key), timeout=_ANSWER_S) as reply:
            found = _TOKENS.findall(reply.read().decode("utf-8", errors="replace"))
        return sum(map(float, found)) if found else None
    except (OSError, HTTPException, ValueError):
        return None


if __name__ == "__main__":
    sys.exit(main())
