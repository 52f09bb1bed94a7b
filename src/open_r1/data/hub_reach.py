# SPDX-License-Identifier: Apache-2.0
"""Can the hub be reached? Its libraries try again for half a minute, or for minutes, before they say no.

1. Only connections that can't be made count. A hub that answers late, or with an error, is asked as ever.
2. What is cached is used offline, as with HF_HUB_OFFLINE=1.
"""

import contextlib
import time
from collections.abc import Iterator

from huggingface_hub import constants
from huggingface_hub.utils import get_session

_NUM_ATTEMPTS, _WAIT_S = 3, 1.0  # a resolver may fail once
_ENOUGH_S = 4.0  # without any network a resolver may take as long by itself
_ANSWER_S = 2.0


def why_unreachable() -> str | None:
    """Return why no connection to the hub can be made; None where it can, or where offline mode is on."""
    import httpx

    # The client's own limit for small requests, which HF_HUB_ETAG_TIMEOUT sets for slow networks.
    timeout = httpx.Timeout(_ANSWER_S, connect=constants.HF_HUB_ETAG_TIMEOUT)
    start, reason = time.monotonic(), None
    for attempt in range(0 if constants.HF_HUB_OFFLINE else _NUM_ATTEMPTS):
        if attempt:
            time.sleep(_WAIT_S)
        try:
            get_session().head(constants.ENDPOINT, timeout=timeout, follow_redirects=False)
            return None
        except httpx.ConnectTimeout:
            reason = f"no connection within {constants.HF_HUB_ETAG_TIMEOUT} s"
        except httpx.ConnectError as error:
            reason = str(error) or repr(error)
        except httpx.HTTPError:
            return None  # late, or broken off: it is there
        if time.monotonic() - start > _ENOUGH_S:
            break
    return reason and f"the hub ({constants.ENDPOINT}) can't be reached: {reason}"


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Let `huggingface_hub`, `datasets` and `transformers` ask nobody meanwhile, as if HF_HUB_OFFLINE were set."""
    from datasets import config

    before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = before
