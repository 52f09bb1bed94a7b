# SPDX-License-Identifier: Apache-2.0
"""The settings of `benchmarks.run_benchmarks`: what each answer, and what the results depend on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from open_r1.data.benchmarks import Benchmark
from open_r1.evaluation import choices, program_rows
from open_r1.evaluation.defaults import ANSWER_TIMEOUT_S, BACKENDS, DEFAULT_MAX_TOKENS, PROGRAM_LIMITS
from open_r1.evaluation.identity import fingerprint_named_template
from open_r1.generation.client import Patience
from open_r1.generation.messages import NEUTRAL, Sampling
from open_r1.generation.prompts import DEFAULT_TEMPLATE
from open_r1.generation.servers import check_serve_args
from open_r1.sandbox import Limits
from open_r1.sandbox.providers import SandboxSettings

# By the kind of the benchmark; math as Open R1 asks.
TEMPLATES = {"math": DEFAULT_TEMPLATE, "choices": choices.TEMPLATE, "code": program_rows.TEMPLATE}
# What else makes the prompts of a kind.
_WRITTEN: dict[str, dict[str, Any]] = {
    "math": {},
    "choices": {"choices_order_seed": choices.ORDER_SEED},
    "code": {"forms": dict(program_rows.FORMS)},
}
_PATIENCE = Patience(timeout_s=ANSWER_TIMEOUT_S, deadline_s=2 * ANSWER_TIMEOUT_S)
_SAMPLING = tuple(entry.name for entry in fields(Sampling) if entry.name not in ("extra_body", "stop"))


@dataclass(frozen=True)
class EvaluationSettings:
    """How benchmarks are run on a model.

    Attributes:
        model: Folder or name on the hub; None: what the servers serve.
        revision: Branch, tag or commit of a model on the hub; a folder in the results in any case.
        commit: What `revision` was when `servers` have loaded it; None: what it is now.
        model_name: Name in the results; None: made of `model`.
        output_dir: Results go to `<output_dir>/<model>/<revision>/<benchmark>/`.
        backend: What serves a model without `servers`: vllm, transformers, or auto (vllm where it is installed).
        servers: Addresses of servers; empty: `backend` serves the model.
        served_model: Name to ask the servers for; None: the one that they serve.
        serve_args: More arguments for `vllm serve`; of `servers`, those that they were started with.
        trust_remote_code: Whether code of the model's repository may run: in `vllm serve`, or in this very process
            where transformers serves; of `servers`, whether they run it.
        served_with: The whole command line of `servers`, for the record.
        system_prompt: First message of every conversation.
        template: Text with `{prompt}`; None: that of the benchmark's kind (`TEMPLATES`).
        sampling: How answers are drawn; without `max_tokens`, the default or what the context leaves.
        num_samples: Answers a problem; None: the benchmark's.
        limit: Problems to ask, the first ones; None: all.
        max_concurrent: Requests in flight.
        patience: How long to go on when requests fail.
        wait_s: Seconds to wait for the first server.
        grace_s: Seconds for requests in flight after a signal.
        api_key: Bearer token.
        overwrite: Put aside, under a new name, what is finished or of other settings, and begin anew.
        run_id: Name of this run; `overwrite` leaves what a run of that name has finished.
        sandbox: Where programs run that answer a benchmark of code.
        limits: Of each of their tests.
    """

    model: str | None
    revision: str = "main"
    commit: str | None = None
    model_name: str | None = None
    output_dir: Path = Path("eval_results")
    backend: str = "auto"
    servers: Sequence[str] = ()
    served_model: str | None = None
    serve_args: Sequence[str] = ()
    trust_remote_code: bool = False
    served_with: Sequence[str] = ()
    system_prompt: str | None = None
    template: str | None = None
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.6, top_p=0.95, seed=0))
    num_samples: int | None = None
    limit: int | None = None
    max_concurrent: int = 256
    patience: Patience = _PATIENCE
    wait_s: float = 0.0
    grace_s: float = 10.0
    api_key: str | None = field(default=None, repr=False)
    overwrite: bool = False
    run_id: str | None = None
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    limits: Limits = PROGRAM_LIMITS

    def __post_init__(self) -> None:
        for name, least in {"num_samples": 1, "limit": 1, "max_concurrent": 1, "wait_s": 0}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}.")
        if self.model_name is not None and not re.fullmatch(r"(?!\.)[\w.=-]+(/(?!\.)[\w.=-]+)*", self.model_name):
            raise ValueError(
                f"model_name is {self.model_name!r}: it names a folder in {self.output_dir}; letters, digits, ._=- "
                "go, and / between parts."
            )
        if not self.revision.strip() or self.revision.startswith("-") or set(_as_folder(self.revision)) == {"."}:
            raise ValueError(f"The revision of the model is {self.revision!r}, which is no branch, tag or commit.")
        if self.commit is not None and not (self.servers and re.fullmatch(r"[0-9a-f]{40}", self.commit)):
            raise ValueError(
                f"model_commit is {self.commit!r}: the 40 digits of the commit that the servers of --url "
                "have loaded; one that is started for the model takes --model_revision."
            )
        check_serve_args(self.serve_args, is_ours=not self.servers)
        if self.backend not in BACKENDS:
            raise ValueError(f"backend is {self.backend!r}; it is one of {', '.join(BACKENDS)}.")
        if self.backend != "auto" and self.servers:
            raise ValueError(f"backend is {self.backend!r}, which serves a model here; servers are named too.")
        if self.backend == "transformers" and self.serve_args:
            raise ValueError(f"serve_args are for vLLM, and backend is transformers: {list(self.serve_args)}.")
        if self.model is not None and self.model_name is None:
            label_of(self.model)
        if self.model is None and not self.servers:
            raise ValueError("Name the model by --model_id, or a server that serves it by --url.")
        if self.sampling.temperature == 0 and (self.num_samples or 1) > 1:
            raise ValueError("temperature 0 gives the same answer each time: num_samples must be 1.")

    def samples_of(self, benchmark: Benchmark) -> int:
        """Return how many answers are drawn to a problem of a benchmark."""
        if self.sampling.temperature == 0:
            return 1
        return self.num_samples or benchmark.num_samples

    @property
    def takes_generation_config(self) -> bool:
        """Whether vLLM is told what of the model's generation_config.json to mix with the sampling."""
        return any(word.replace("_", "-").startswith("--generation-config") for word in self.serve_args)

    def sampling_by(self, engine: str | None, max_model_len: int | None) -> Sampling:
        """Return how servers are asked to draw.

        Args:
            engine: What serves (`serving.engine_of`). vLLM alone is told what changes nothing, since other servers may
                refuse fields that they don't know.
            max_model_len: Context in tokens; one of at most `DEFAULT_MAX_TOKENS` is left to the server as the limit.
        """
        sampling = self.sampling
        if sampling.max_tokens is None and (max_model_len is None or max_model_len > DEFAULT_MAX_TOKENS):
            sampling = replace(sampling, max_tokens=DEFAULT_MAX_TOKENS)
        if engine != "vllm" or self.takes_generation_config:
            return sampling
        left = {name: value for name, value in NEUTRAL.items() if name not in sampling.body()}
        return replace(sampling, extra_body={**sampling.extra_body, **left})

    def of_an_answer(self, benchmark: Benchmark, source: Sequence[str | None]) -> dict[str, Any]:
        """Return what each answer depends on, beside the model and the limit of tokens, which the server tells.

        Args:
            benchmark: What is asked.
            source: `Parent.identity` of its data.
        """
        return {
            "revision": self.revision,
            "source": list(source),
            "prompt_column": benchmark.prompt_column,
            "kind": benchmark.kind,
            "template": self.template or TEMPLATES[benchmark.kind],
            **_WRITTEN[benchmark.kind],
            "system_prompt": self.system_prompt,
            "serve_args": list(self.serve_args),
            # The words name a file, whose text decides; the model's own template is in what identifies the model.
            "named_template_hash": fingerprint_named_template([*self.serve_args, *self.served_with]),
            "trust_remote_code": self.trust_remote_code,
        }

    def of_the_sampling(self, engine: str | None, max_model_len: int | None) -> dict[str, Any]:
        """Return how answers are drawn, None for what is left to the server, with the context where it limits them."""
        sampling = self.sampling_by(engine, max_model_len)
        known = dict.fromkeys([*_SAMPLING, *NEUTRAL]) | sampling.body()
        return {**known, "context_tokens": max_model_len if sampling.max_tokens is None else None}

    def folder(self, model: str) -> Path:
        """Return the folder of a model's results; those of a benchmark have a folder each in it."""
        return self.output_dir / (self.model_name or label_of(model)) / _as_folder(self.revision)

    def folder_of(self, model: str, benchmark: Benchmark) -> Path:
        """Return the folder of the results on a benchmark."""
        return self.folder(model) / benchmark.name


def label_of(model: str) -> str:
    """Return the name of a model in the results: a name on the hub as it is, of a folder the last part.

    >>> label_of("Qwen/Qwen3-8B"), label_of("/data/runs/math/checkpoint-20/")
    ('Qwen/Qwen3-8B', 'math/checkpoint-20')

    Raises:
        ValueError: It has no name, as `/`.
    """
    path = Path(model).expanduser()
    if path.exists() and (".." in path.parts or not path.name):
        path = path.resolve()
    parts = [_as_folder(part) for part in path.parts if part not in ("/", ".", "..", "~")]
    if not parts or not model.strip():
        raise ValueError(f"The model {model!r} has no name for its results: give one by --model_name.")
    is_on_the_hub = not path.is_absolute() and len(parts) <= 2 and not path.exists()
    if is_on_the_hub or parts[-1].startswith("checkpoint-"):
        return "/".join(parts[-2:])
    return parts[-1]


def _as_folder(name: str) -> str:
    return re.sub(r"[^\w.=-]+", "_", name)
