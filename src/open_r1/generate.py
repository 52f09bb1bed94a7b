# SPDX-License-Identifier: Apache-2.0
"""Generate completions for the rows of a data set with distilabel, from any OpenAI-compatible server.

    python src/open_r1/generate.py --hf-dataset problems.jsonl --prompt-column problem --num-generations 4 \\
        --model Qwen/Qwen3-8B --vllm-server-url http://localhost:8000/v1 --temperature 0.6 --max-new-tokens 8192
    python src/open_r1/generate.py --hf-dataset AI-MO/NuminaMath-TIR --prompt-column problem --model Qwen/Qwen3-8B \\
        --serve --serve-args='--tensor-parallel-size 2 --max-model-len 16384'

Rows come out as they went in, with the columns generations, finish_reasons and api_metadata (lists, an entry for each
generation; what failed is null). Whatever is finished lies in generations.jsonl of the output folder: after kill -9
the same command goes on, and loses one shard at most. Nothing is pushed unless --hf-output-dataset names where to.

1. Local output and resume: Open R1's script had neither. distilabel's own resume hangs: `generation/distil_shards.py`.
2. No Ray unless --ray. A pushed data set is private unless --public. One default for --timeout: 900 s.
3. Failures are kept apart, each with its reason: `generation/distil_llm.py`. For speed: scripts/generate_reasoning.py.
"""

import argparse
import contextlib
import logging
import os
import sys

from open_r1.data.card import DataCard, Step
from open_r1.data.folder import DatasetFolder
from open_r1.data.push import check_push, push_folder
from open_r1.data.sources import RowSource, open_source
from open_r1.generation.distil import build_distilabel_pipeline
from open_r1.generation.distil_arguments import build_sampling, deciding_settings, parse_args, pipeline_settings
from open_r1.generation.distil_serving import serving
from open_r1.generation.distil_shards import ShardRunner, close_journal, generate, has_failures, open_journal
from open_r1.generation.engine import Totals
from open_r1.generation.journal import Journal
from open_r1.generation.outputs import claimed, is_finished
from open_r1.generation.prompts import Prompts, PromptSettings, choose_rows
from open_r1.generation.publishing import Counts, Publication, Results, check_columns

__all__ = ["build_distilabel_pipeline", "main"]
logger = logging.getLogger("generate")


def main(argv: list[str] | None = None) -> int:
    """Generate, publish and push as the command line says; return the exit status."""
    args = parse_args(argv, __doc__ or "")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    try:
        if args.hf_output_dataset is not None:
            check_push(args.hf_output_dataset, private=not args.public, setting="--hf-output-dataset")
        run(args)
        if args.hf_output_dataset is not None:
            push_folder(args.output_dir, args.hf_output_dataset, private=not args.public)
        return 0
    except (ValueError, OSError, RuntimeError) as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        logger.error("Interrupted; the same command goes on.")
        return 130


def run(args: argparse.Namespace) -> None:
    """Generate what is missing and write the data set."""
    source = open_source(args.hf_dataset, config=args.hf_dataset_config, split=args.hf_dataset_split)
    source.require([args.prompt_column], "--prompt-column")
    source.require(args.drop_columns, "--drop-columns")
    check_columns([name for name in source.column_names if name not in args.drop_columns], has_turns=False)
    teacher = {"model": args.model, "client": "distilabel"}
    card = DataCard(
        args.output_dir.name,
        deciding_settings(args),
        [source.parent()],
        teacher=teacher,
        sampling=build_sampling(args).body(),
        licence=args.licence,
    )
    folder = DatasetFolder(args.output_dir, card, overwrite=args.overwrite, licence=args.licence)
    if is_finished(folder) and not (args.retry_errors and has_failures(folder)):
        logger.info("%s was finished earlier with these settings.", args.output_dir)
        return
    with claimed(folder.path):
        # Perhaps another process has just finished it.
        if is_finished(folder) and not (args.retry_errors and has_failures(folder)):
            logger.info("%s was finished by another process.", args.output_dir)
            return
        make(args, source, folder)


def make(args: argparse.Namespace, source: RowSource, folder: DatasetFolder) -> None:
    """Generate and publish, with nobody else at it."""
    with open_journal(folder, retry_errors=args.retry_errors) as journal:
        with contextlib.closing(Prompts(folder.path)) as prompts:
            # The template of the command line is distilabel's, in Jinja.
            prompts.read(source, PromptSettings(args.prompt_column, template="{prompt}"), source.num_rows)
            ask(args, prompts, journal)
            rows = choose_rows(source.num_rows, None, None)
            publication = Publication(source, prompts, rows, args.num_generations, args.drop_columns, False, Counts())
            publish(publication, folder, journal)
        close_journal(journal, has_failures=publication.counts.errors > 0)


def ask(args: argparse.Namespace, prompts: Prompts, journal: Journal) -> None:
    """Ask for all generations that the journal does not have."""
    bad = prompts.bad
    if bad.count:
        logger.warning(
            "%d of %d rows cannot be asked for and get no generations; row %d is the first: %s.",
            bad.count,
            prompts.num_rows,
            bad.first_row,
            bad.first_reason,
        )
    total = (prompts.num_rows - bad.count) * args.num_generations
    totals = Totals(skipped=len(journal.finished))
    logger.info("%d of %d generations are there.", totals.skipped, total)
    if totals.skipped == total:
        return
    with serving(args, journal.path.with_name("vllm.log")) as (url, model, check):
        runner = ShardRunner(
            pipeline_settings(args, url, model),
            journal.path.with_name(".distilabel"),
            check,
            api_key=os.environ.get(args.api_key_env),
        )
        requests = prompts.requests(range(prompts.num_rows), args.num_generations)
        generate(requests, runner, journal, shard_size=args.shard_size, totals=totals, total=total)


def publish(publication: Publication, folder: DatasetFolder, journal: Journal) -> None:
    """Write all rows with their generations, and the card."""
    folder.overwrite = True  # by --retry-errors the same data set is finished anew
    counts = publication.counts
    with contextlib.closing(Results(journal)) as results, folder:
        folder.write_malformed(publication.source)
        for batch in publication.batches(results):
            folder.write(batch)
        counts.refuse_without_answers()
        folder.card.steps.append(Step("generate", counts.rows, counts.rows, counts.as_detail()))
    logger.info(
        "%s: %d rows, %d generations, of which %d failed and %d were truncated.",
        folder.path,
        counts.rows,
        counts.requests,
        counts.errors,
        counts.truncated,
    )
    if counts.errors:
        logger.warning("What failed is null, with its reason in api_metadata; --retry-errors asks for it again.")


if __name__ == "__main__":
    sys.exit(main())
