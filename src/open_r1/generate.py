# SPDX-License-Identifier: Apache-2.0
"""Generate completions for the rows of a data set with distilabel, from any OpenAI-compatible server.

    python src/open_r1/generate.py --hf-dataset AI-MO/NuminaMath-TIR --prompt-column problem --num-generations 4 \\
        --model Qwen/Qwen3-8B --vllm-server-url http://localhost:8000/v1 --temperature 0.6 --max-new-tokens 8192

Adds the columns of distilabel: generation (a list), distilabel_metadata, model_name. One request that fails leaves its
whole batch (--input-batch-size rows) null: use scripts/generate_reasoning.py, which is also faster, to keep every
single answer. Exit status 3: rows are null.

1. Rows are written to a folder of this machine too, in chunks of --chunk-size: repeat the command to resume.
   distilabel's own resume hangs (argilla-io/distilabel#1065).
2. A pushed data set is private unless --public. Runs on Ray only where distilabel finds Ray. --timeout is 900 s.
"""

import argparse
import logging
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from open_r1.data.card import DataCard, Step, read_card
from open_r1.data.cli import STOPPED, FlagParser, log_to_stderr, respelled
from open_r1.data.folder import DatasetFolder
from open_r1.data.push import check_push, push_folder
from open_r1.data.sources import RowSource, open_source
from open_r1.generation.servers import SupervisedProcess

if TYPE_CHECKING:
    from distilabel.pipeline import Pipeline

logger = logging.getLogger(__name__)

_DECIDING = ("model", "prompt_column", "prompt_template", "temperature", "top_p", "max_new_tokens", "num_generations")
_PACE = ("input_batch_size", "client_replicas", "timeout", "retries")
_TOKENS = pa.struct([("input_tokens", pa.int64()), ("output_tokens", pa.int64())])
_METADATA = "distilabel_metadata"
_COLUMNS = {
    "generation": pa.list_(pa.string()),
    _METADATA: pa.list_(pa.struct([("statistics_text_generation_0", _TOKENS)])),
    "model_name": pa.string(),
}


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
    timeout: int = 900,
    retries: int = 0,
) -> "Pipeline":
    """Return distilabel's pipeline with one `TextGeneration` step over an OpenAI-compatible server.

    The key of the server is that of OPENAI_API_KEY, if there is one. Temperature and top_p are 1 where they are None.
    """
    from distilabel.models.llms import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import StepResources
    from distilabel.steps.tasks import TextGeneration

    sampling = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
    with Pipeline() as pipeline:
        TextGeneration(
            llm=OpenAILLM(
                model=model,
                base_url=base_url,
                api_key=os.environ.get("OPENAI_API_KEY") or "EMPTY",
                timeout=timeout,
                max_retries=retries,
                generation_kwargs={name: value for name, value in sampling.items() if value is not None},
            ),
            template=prompt_template,
            input_mappings={"instruction": prompt_column} if prompt_column is not None else {},
            input_batch_size=input_batch_size,
            num_generations=num_generations,
            group_generations=True,
            add_raw_input=False,  # with them distilabel ends at the first batch that fails
            add_raw_output=False,
            resources=StepResources(replicas=client_replicas),
        )
    return pipeline


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = FlagParser(description=__doc__)
    add = parser.add_argument
    add("--hf-dataset", required=True, help="local file or folder, tasks/<name>, or name on the hub")
    add("--hf-dataset-config", help="configuration of the data set")
    add("--hf-dataset-split", default="train", help="split, or a slice such as train[:100] (default: %(default)s)")
    add("--prompt-column", default="prompt", help="column with the prompt, a text (default: %(default)s)")
    add("--prompt-template", default="{{ instruction }}", help="Jinja template (default: %(default)s)")
    add("--model", required=True, help="name of the model as the server knows it")
    add("--vllm-server-url", default="http://localhost:8000/v1", help="URL of the server (default: %(default)s)")
    add("--temperature", type=float, help="default: distilabel's, 1")
    add("--top-p", type=float, help="default: distilabel's, 1")
    add("--max-new-tokens", type=int, default=8192, help="of a generation (default: %(default)s)")
    add("--num-generations", type=int, default=1, help="generations a row (default: %(default)s)")
    add("--input-batch-size", type=int, default=64, help="rows asked for at a time (default: %(default)s)")
    add("--client-replicas", type=int, default=1, help="processes that ask (default: %(default)s)")
    add("--timeout", type=int, default=900, help="seconds for a request (default: %(default)s)")
    add("--retries", type=int, default=0, help="how often a failed request is sent again (default: %(default)s)")
    add("--hf-output-dataset", help="push the rows to this name on the hub (default: no push)")
    privacy = parser.add_mutually_exclusive_group()
    privacy.add_argument("--private", action="store_true", help="make the pushed data set private: the default")
    privacy.add_argument("--public", action="store_true", help="make the pushed data set public")
    add("--output-dir", type=Path, help="folder for the rows (default: data/<name>_generated)")
    add("--chunk-size", type=int, default=1000, help="rows that distilabel gets at a time (default: %(default)s)")
    add(
        "--only-chunk", type=Path, metavar="FILE", help="internal: generate for the rows of this chunk in this process"
    )
    add("--overwrite", action="store_true", help="replace an output that was made with other settings")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Generate, publish and push as the command line says; return the exit status."""
    words = respelled(sys.argv[1:] if argv is None else argv, "-")
    args = build_parser().parse_args(words)
    name = re.sub(r"[^\w.-]+", "_", Path(args.hf_dataset.rstrip("/")).stem or "dataset")
    args.output_dir = (args.output_dir or Path("data") / f"{name}_generated").expanduser()
    log_to_stderr()
    if args.only_chunk is not None:
        ask(args, args.only_chunk)
        return 0
    try:
        source = open_source(args.hf_dataset, config=args.hf_dataset_config, split=args.hf_dataset_split)
        settings = {"script": "generate", **{name: getattr(args, name) for name in _DECIDING}}
        card = DataCard(args.output_dir.name, settings, [source.parent()], teacher={"model": args.model})
        folder = DatasetFolder(args.output_dir, card, overwrite=args.overwrite)
        chunks = args.output_dir / "chunks" / card.fingerprint()
        if args.hf_output_dataset is not None:
            check_push(args.hf_output_dataset, private=not args.public, setting="--hf-output-dataset")
        check(args, source)
        args.output_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(args.output_dir / ".generating.lock", timeout=0):
            if folder.is_done():
                logger.info("%s was finished earlier with these settings.", args.output_dir)
            else:
                publish(folder, run_chunks(source, args.chunk_size, chunks, words))
            shutil.rmtree(args.output_dir / "chunks", ignore_errors=True)
        if args.hf_output_dataset is not None:
            push_folder(args.output_dir, args.hf_output_dataset, private=not args.public)
    except KeyboardInterrupt:
        logger.error("Interrupted; repeat the command to resume.")
        return STOPPED
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("%s", error)
        return 1
    found = read_card(args.output_dir)
    errors = found.steps[-1].detail["errors"] if found is not None else 0
    if errors:
        logger.warning("%d rows are null, since a request of their batch failed.", errors)
    return 3 if errors else 0


def check(args: argparse.Namespace, source: RowSource) -> None:
    """Refuse rows that cannot be asked for, or whose columns would be replaced."""
    import distilabel  # noqa: F401 - an ImportError here names the package

    source.require([args.prompt_column], "--prompt-column")
    if taken := sorted(_COLUMNS.keys() & set(source.column_names)):
        raise ValueError(f"{args.hf_dataset} has columns {taken}, which distilabel would replace: rename them.")


def run_chunks(source: RowSource, chunk_size: int, folder: Path, words: list[str]) -> list[Path]:
    """Run distilabel, in a process of its own, for each chunk that is not there; return the files of all."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for start in range(0, source.num_rows, chunk_size):
        end = min(start + chunk_size, source.num_rows)
        paths.append(folder / f"{start}-{end}.parquet")
        if paths[-1].exists():
            continue
        rows = paths[-1].with_suffix(".rows")
        pq.write_table(pa.Table.from_batches(list(source.batches(start=start, end=end))), rows)
        command = [sys.executable, "-P", "-m", "open_r1.generate", *words, "--only-chunk", str(rows)]
        environment = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"}
        with SupervisedProcess(command, log_path=folder / "distilabel.log", env=environment, grace_s=0.0) as process:
            while (status := process.wait(60.0)) is None:
                pass
            if status:
                raise RuntimeError(f"distilabel failed; last lines of {process.log_path}:\n{process.tail()}")
        logger.info("%d of %d rows are there.", end, source.num_rows)
    return paths


def ask(args: argparse.Namespace, rows: Path) -> None:
    """Ask for the rows of a chunk and write them with their generations."""
    import datasets
    from distilabel.pipeline.write_buffer import _WriteBuffer

    # One file a chunk: types of 50 rows that all failed don't fit the next ones.
    _WriteBuffer.is_full = lambda self, step_name: False
    table = pq.read_table(rows)
    texts = table[args.prompt_column].to_pylist()
    # distilabel takes the columns of many rows from the first, which may be one without statistics.
    asked = [{"row": row, "instruction": text, _METADATA: None} for row, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["DISTILABEL_CACHE_DIR"] = datasets.config.HF_DATASETS_CACHE = cache
        settings = {name: getattr(args, name) for name in (*_DECIDING, *_PACE) if name != "prompt_column"}
        pipeline = build_distilabel_pipeline(base_url=args.vllm_server_url, **settings)
        made = pipeline.run(dataset=asked, dataset_batch_size=args.input_batch_size, use_cache=False)
        found = {row["row"]: row for row in made["default"]["train"]}
    if len(found) < len(asked) or not any(any(row["generation"] or ()) for row in found.values()):
        raise RuntimeError(f"distilabel returned {len(found)} of {len(asked)} rows, or none with a generation.")
    for name, kind in _COLUMNS.items():
        table = table.append_column(name, pa.array([found[row][name] for row in range(len(asked))], kind))
    unfinished = rows.with_suffix(".unfinished")
    pq.write_table(table, unfinished)
    unfinished.rename(rows.with_suffix(".parquet"))
    rows.unlink()


def publish(folder: DatasetFolder, paths: list[Path]) -> None:
    """Write the rows of all chunks and the card."""
    errors = 0
    with folder:
        for path in paths:
            table = pq.read_table(path)
            errors += sum(texts is None or None in texts for texts in table["generation"].to_pylist())
            folder.write(table)
        rows = sum(pq.read_metadata(path).num_rows for path in paths)
        folder.card.steps.append(Step("generate", rows, rows, {"errors": errors}))


if __name__ == "__main__":
    sys.exit(main())
