#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Choose completions for fine-tuning: correct, readable, hard enough, the best of each problem, each once, diverse.

    python scripts/curate.py --input data/generations --output_dir data/curated --max_per_problem 1 --order rule_score
    python scripts/curate.py --config recipes/LIMO/curation/config_limo.yaml --input data/generations --dry_run

Input: folders of generate_reasoning.py, generate.py or compute_pass_rate.py, or any data set with a problem and one or
several completions a row, or `messages`. Output: a folder with a card, whose `messages` sft.py reads. The steps are
taken in the order of the groups below; each is counted in the card. The same command goes on where it was stopped.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from open_r1.curation.completions import GENERATION_COLUMNS
from open_r1.curation.settings import CORRECT_BY, DUPLICATES, ORDERS, REASONING, SAMPLE_BY, USUAL_KEPT, CurateSettings
from open_r1.data.flags import STOPPED, FlagParser, respelled

logger = logging.getLogger(__name__)

DEFAULTS = CurateSettings(input=["-"])
READABILITY = ("no_words", "mixed_language", "long_paragraph", "code_block")
NOT_SETTINGS = ("config", "output_dir", "overwrite", "dry_run", "licence")


class _Ignored(argparse.Action):
    """A flag of earlier versions that nothing reads any more."""

    def __call__(self, parser: object, namespace: object, values: object, option_string: str | None = None) -> None:
        logger.warning("%s has no effect any more and is ignored: leave it out.", option_string)


def main(argv: Sequence[str] | None = None) -> int:
    """Curate as the command line says; return the exit status."""
    words = respelled(sys.argv[1:] if argv is None else argv, "_")
    parser = build_parser()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        args = parser.parse_args([*words_of_config(parser, words), *words])
        if args.output_dir is None and not args.dry_run:
            parser.error("--output_dir is missing: name the folder of the new data set, or count with --dry_run")
        values = {name: value for name, value in vars(args).items() if name not in NOT_SETTINGS}
        settings = CurateSettings(**values)
        from open_r1.curation.curating import curate  # a second of imports, after the refusals

        folder = None if args.dry_run else Path(args.output_dir).expanduser()
        funnel, is_new = curate(settings, folder, overwrite=args.overwrite, licence=args.licence)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"curate.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("curate.py: Stopped; verdicts are kept, and the same command goes on.", file=sys.stderr)
        return STOPPED
    if not is_new:
        print(f"{folder} was finished earlier with these settings: nothing to do.")
        return 0
    print(funnel.table())
    print("Nothing was written (--dry_run)." if folder is None else f"Written to {folder}.")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; `CurateSettings` is the home of the defaults."""
    parser = FlagParser(description=__doc__)
    parser.add_argument("--config", help="YAML file with any of these flags as keys; flags behind it override it")
    for add in (add_data_flags, add_problem_flags, add_quality_flags, add_choice_flags):
        add(parser)
    return parser


def flag(group: argparse._ArgumentGroup, name: str, text: str, **options: Any) -> None:
    """Add a flag with the default of its setting, which the help shows."""
    default = vars(DEFAULTS)[name]
    if options.get("action") != "store_true" and default is not None:
        text += f" (default: {default})"
        options.setdefault("type", type(default))
    group.add_argument(f"--{name}", default=default, help=text.replace("%", "%%"), **options)


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Add what is read and written."""
    data = parser.add_argument_group("data")
    data.add_argument("--input", nargs="+", required=True, help="folders, files or hub names; all of one layout")
    data.add_argument("--output_dir", help="folder of the new data set")
    data.add_argument("--overwrite", action="store_true", help="make a finished data set anew, whatever its settings")
    data.add_argument("--dry_run", action="store_true", help="count what each step leaves, and write nothing")
    data.add_argument("--licence", help="of the new data set (default: that of the inputs, by their cards)")
    flag(data, "dataset_config", "configuration of the inputs")
    flag(data, "dataset_split", "split of the inputs, or a slice: train[:1000]")
    flag(data, "dataset_revision", "branch, tag or commit of inputs from the hub")
    flag(data, "dataset_layout", "layout that maps the rows (list: python -m open_r1.data.layouts; default: none)")
    flag(data, "problem_column", "text or messages (default: the first of problem, question, instruction, prompt)")
    flag(data, "generations_column", f"completions (default: the first of {', '.join(GENERATION_COLUMNS)}, messages)")
    flag(data, "finish_reasons_column", "why each completion ended (default: finish_reasons, where it is there)")
    flag(data, "gold_column", "gold answer (default: the first of answer, solution, ground_truth, expected_answer)")
    flag(data, "domain_column", "what a problem is about, for --sample_by domain")
    flag(data, "keep_columns", f"columns to take over (default: those there of {', '.join(USUAL_KEPT)})", nargs="*")
    flag(
        data, "keep_contaminated", "keep rows with a true contaminated_<benchmark>, and its flags", action="store_true"
    )
    flag(data, "system_prompt", "first message of each row, instead of the one there")


def add_problem_flags(parser: argparse.ArgumentParser) -> None:
    """Add which completions are whole, and which problems hard enough."""
    whole = parser.add_argument_group("1. whole completions, 2. difficulty by pass rates (bounds are included)")
    flag(whole, "reasoning", "whether completions without <think> tags are dropped", choices=REASONING)
    source = "a data set with pass rates of the same problems, or column:NAME"
    flag(whole, "easy_pass_rate", f"pass rates of small models: {source}; of several the highest counts", nargs="+")
    flag(whole, "easy_max", "highest pass rate of a small model, a number or fraction")
    own = "or the word generations: the share of a row's own completions that is correct, all but failed ones"
    flag(whole, "hard_pass_rate", f"pass rates of a strong model: {source}, {own}")
    flag(whole, "hard_min", "lowest pass rate of the strong model")
    flag(whole, "hard_max", "highest pass rate of the strong model")
    flag(whole, "pass_rate_column", "column of the data sets with pass rates")
    flag(whole, "join_column", "column that names a row in both (default: uuid or id, else the problem)")
    flag(whole, "drop_without_pass_rate", "drop problems that aren't there, instead of refusing", action="store_true")


def add_quality_flags(parser: argparse.ArgumentParser) -> None:
    """Add what a completion must be like."""
    correct = parser.add_argument_group("3. correct completions")
    flag(correct, "correct_by", "who judges: our verifier, by the gold answer; a column; nobody", choices=CORRECT_BY)
    flag(correct, "correct_column", "a boolean or number for each completion, such as pass_rate_rewards_accuracy")
    flag(correct, "correct_min", "least number in that column that counts as correct")
    flag(correct, "keep_unverifiable", "keep completions whose gold can't be read", action="store_true")
    correct.add_argument("--verifier_timeout_s", action=_Ignored, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    readable = parser.add_argument_group("4. readable reasoning, 5. length")
    flag(
        readable,
        "readability",
        "faults for which a completion is dropped (default: none)",
        nargs="*",
        choices=READABILITY,
    )
    flag(readable, "language", "language of the reasoning, ISO 639-1: told apart by script (default: any)")
    flag(readable, "max_paragraph_chars", "of a line that is no long_paragraph")
    flag(readable, "min_language_share", "share of words in one script, and in the language")
    flag(readable, "max_tokens", "most tokens of a completion, as the server or --tokenizer counts", type=int)
    flag(readable, "tokenizer", "tokenizer.json, or a model folder with one, to count with")


def add_choice_flags(parser: argparse.ArgumentParser) -> None:
    """Add which of the good completions are taken."""
    best = parser.add_argument_group("6. best of each problem, 7. duplicates, 8. sample")
    flag(best, "max_per_problem", "completions of a row at most, all different (default: all)", type=int)
    flag(best, "order", "which are best; rule_score is LIMO's", choices=ORDERS)
    text = (
        "duplicates to drop, in this order (default: none). Near problems agree in numbers, signs and their last five "
        "words; those that differ elsewhere in a few other words alone count as copies"
    )
    flag(best, "duplicates", text, nargs="*", choices=DUPLICATES)
    flag(best, "problem_threshold", "share of common three-word runs from which problems are near")
    flag(best, "completion_threshold", "the same of completions")
    flag(best, "sample_by", "draw --num_rows rows over domains or clusters, or the best by --order", choices=SAMPLE_BY)
    flag(best, "num_rows", "rows to draw", type=int)
    flag(best, "num_clusters", "clusters of problems (TF-IDF, k-means)")
    flag(best, "seed", "of drawing, clusters and --order random")


def words_of_config(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Return the settings of the YAML file as words of a command line.

    Raises:
        ValueError: The file is missing, isn't flat, or has keys that are no flags.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    name = first.parse_known_args(words)[0].config
    if name is None:
        return []
    try:
        values = yaml.safe_load(Path(name).expanduser().read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is no YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{name} must hold flags and values, `max_per_problem: 1`, not {type(values).__name__}.")
    actions = {action.dest: action for action in parser._actions if action.dest not in ("help", "config")}
    unknown = sorted(set(map(str, values)) - set(actions))
    if unknown:
        raise ValueError(f"{name} has unknown keys {unknown}. Known are: {', '.join(actions)}.")
    found = []
    for key, value in values.items():
        is_switch = actions[key].nargs == 0
        if value is None or (value is False and is_switch):
            continue
        is_nested = isinstance(value, dict) or (isinstance(value, list) and actions[key].nargs is None)
        if is_nested or isinstance(value, bool) != is_switch:
            raise ValueError(
                f"{name}: {key} is {value!r}; see --help for what it can be (put no, off, yes in quotes)."
            )
        entries = [] if value is True else value if isinstance(value, list) else [value]
        found += [f"--{key}", *map(str, entries)] if actions[key].nargs in (0, "*", "+") else [f"--{key}={value}"]
    return found


if __name__ == "__main__":
    sys.exit(main())
