# SPDX-License-Identifier: Apache-2.0
"""Open R1's distilabel pipeline, and a process that runs it once on the generations of a shard.

    python -m open_r1.generation.distil FOLDER

reads `FOLDER/pipeline.json` (arguments of `build_distilabel_pipeline`) and `FOLDER/asked.jsonl` (`key`, `index`,
`instruction`, perhaps `system_prompt`), and writes `FOLDER/answers.jsonl` when distilabel has come to its end.

1. Ray only when asked. distilabel takes it by itself where Ray's environment variables are set.
2. One default for the time limit: upstream's function has 900 s, its command line 600 s, its script for Slurm 900 s.
3. The key is that of OPENAI_API_KEY, if there is one. Requests: see `distil_llm.py`.
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distilabel.pipeline import Pipeline, RayPipeline

    from open_r1.generation.distil_llm import ChatServerLLM

DEFAULT_TIMEOUT_S = 900
_RAY_VARIABLES = ("RAY_NODE_TYPE_NAME", "RAY_CLUSTER_NAME", "RAY_ADDRESS")
_TASK = "text_generation_0"


def build_distilabel_pipeline(
    model: str,
    base_url: str = "http://localhost:8000/v1",
    prompt_column: str | None = None,
    prompt_template: str = "{{ instruction }}",
    temperature: float | None = None,
    top_p: float | None = None,
    max_new_tokens: int = 8192,
    num_generations: int = 1,
    input_batch_size: int = 64,
    client_replicas: int = 1,
    timeout: int = DEFAULT_TIMEOUT_S,
    retries: int = 0,
    *,
    system_prompt: str | None = None,
    use_ray: bool = False,
) -> "Pipeline | RayPipeline":
    """Return distilabel's pipeline with one `TextGeneration` step over an OpenAI-compatible server.

    Args:
        model: Name of the model as the server knows it.
        base_url: Of the server, with /v1.
        prompt_column: Column with the prompt (None: `instruction`).
        prompt_template: Jinja template that shows the prompt as `{{ instruction }}`.
        temperature, top_p: 0 to 2; above 0, at most 1. None leaves it to the server.
        max_new_tokens: Most tokens of a generation.
        num_generations: Generations of a prompt, in a list.
        input_batch_size: Prompts that a replica asks for at a time.
        client_replicas: Processes that ask.
        timeout: Seconds for one request. One default everywhere, here and on the command line: 900.
        retries: How often a request that failed is tried again.
        system_prompt: System message; the column `system_prompt` goes before it.
        use_ray: Run it on Ray (`pip install "ray[default]"`).
    """
    from distilabel.pipeline import Pipeline
    from distilabel.steps import StepResources
    from distilabel.steps.tasks import TextGeneration

    sampling = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
    llm = _build_llm(sampling, model=model, base_url=base_url, timeout=timeout, max_retries=retries)
    local = Pipeline(enable_metadata=True)
    with local.ray() if use_ray else local as pipeline:
        TextGeneration(
            llm=llm,
            system_prompt=system_prompt,
            template=prompt_template,
            input_mappings={"instruction": prompt_column} if prompt_column is not None else {},
            input_batch_size=input_batch_size,
            num_generations=num_generations,
            group_generations=True,
            add_raw_input=False,
            add_raw_output=False,
            resources=StepResources(replicas=client_replicas),
        )
    return pipeline


def _build_llm(sampling: dict[str, Any], **settings: Any) -> "ChatServerLLM":
    from open_r1.generation.distil_llm import ChatServerLLM

    given = {name: value for name, value in sampling.items() if value is not None}
    # distilabel wants some key; servers without keys ignore it.
    return ChatServerLLM(api_key=os.environ.get("OPENAI_API_KEY") or "EMPTY", generation_kwargs=given, **settings)


def run_shard(folder: Path) -> None:
    """Ask for all that the folder lists and write the answers; see the head of this file."""
    settings = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))
    asked = [json.loads(line) for line in (folder / "asked.jsonl").read_text(encoding="utf-8").splitlines()]
    os.environ["DISTILABEL_CACHE_DIR"] = str(folder / "cache")
    for name in _RAY_VARIABLES:
        if not settings["use_ray"]:
            os.environ.pop(name, None)
    pipeline = build_distilabel_pipeline(**settings)
    distiset = pipeline.run(use_cache=False, dataset=asked, dataset_batch_size=settings["input_batch_size"])
    unfinished = folder / "answers.unfinished"
    with unfinished.open("w", encoding="utf-8") as file:
        for row in distiset["default"]["train"]:
            if row["generation"] is not None:  # else distilabel failed at its batch; whoever asked sees that it lacks
                file.write(json.dumps(_answer(row, settings["base_url"])) + "\n")
    unfinished.rename(folder / "answers.jsonl")


def _answer(row: dict[str, Any], server: str) -> dict[str, Any]:
    """Return the record of one generation, with the fields of `ChatReply.record`."""
    [text], [metadata] = row["generation"], row["distilabel_metadata"]
    statistics = metadata[f"statistics_{_TASK}"]
    return {
        "key": row["key"],
        "index": row["index"],
        "text": None if statistics["error"] else text,
        "finish_reason": statistics["finish_reason"],
        "usage": {"prompt_tokens": statistics["input_tokens"], "completion_tokens": statistics["output_tokens"]},
        "status": statistics["status"] or None,
        "attempts": 1,
        "latency_s": statistics["latency_s"],
        "server": server,
        "error": statistics["error"] or None,
        "is_final": statistics["is_final"],
        "is_refusal": statistics["is_refusal"],
    }


if __name__ == "__main__":
    run_shard(Path(sys.argv[1]))
