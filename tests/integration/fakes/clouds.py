# SPDX-License-Identifier: Apache-2.0
"""The rented clouds by name, each with the stand-in that its real SDK talks to."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from open_r1.sandbox.e2b import E2BSandbox
from open_r1.sandbox.morph import MorphSandbox
from open_r1.sandbox.rented import RentedSandbox
from tests.integration.fakes.e2b_server import e2b_server
from tests.integration.fakes.machines import Cloud
from tests.integration.fakes.morph_server import morph_server


@dataclass(frozen=True)
class Provider:
    """A provider with its stand-in.

    Attributes:
        serve: Starts the stand-in; faults by operation.
        build: Builds our sandbox.
        key: The variable with the key.
        package: What the SDK is imported as.
    """

    serve: Callable[..., contextlib.AbstractContextManager[Cloud]]
    build: Callable[..., RentedSandbox]
    key: str
    package: str

    @contextlib.contextmanager
    def serving(self, *, start_timeout_s: float = 30.0, **faults: Iterable[str]) -> Iterator:
        """Serve with these faults; yield the server and a sandbox that uses it."""
        with self.serve(**faults) as server:
            yield server, self.build(start_timeout_s=start_timeout_s)


CLOUDS = {
    "e2b": Provider(e2b_server, E2BSandbox, "E2B_API_KEY", "e2b_code_interpreter"),
    "morph": Provider(morph_server, MorphSandbox, "MORPH_API_KEY", "morphcloud"),
}
