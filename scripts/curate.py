#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Choose completions for fine-tuning: correct, readable, hard enough, the best of each problem, each once, diverse.

    python scripts/curate.py --input data/generations --output_dir data/curated --max_per_problem 1 --order rule_score
    python scripts/curate.py --config recipes/LIMO/curation/config_limo.yaml --input data/generations --dry_run

Input: folders of generate_reasoning.py, generate.py or compute_pass_rate.py, or any data set with a problem and one or
several completions a row, or `messages`. Output: a folder with a card, whose `messages` sft.py reads. The steps are
taken in the order of the groups below; each is counted in the card. The same command resumes where it was stopped.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import yaml

from open_r1.data.cli import STOPPED, FlagParser, respelled

DUPLICATES = ("exact_problems", "near_problems", "exact_completions", "near_completions")
READABILITY = ("no_words", "mixed_language", "long_paragraph", "code_block")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line: the home of the defaults."""
    parser = FlagParser(description=__doc__)
    parser.add_argument("--config", help="YAML file with any of these flags as keys; flags behind it override it")
    add = parser.add_argument_group("data").add_argument
    add("--input", nargs="+", required=True, help="folders, files or hub names; all of one layout")
    add("--output_dir", help="folder of the new data set")
    add("--overwrite", action="store_true", help="make a finished data set anew, whatever its settings")
    add("--dry_run", action="store_true", help="count what each step leaves, and write nothing")
    add("--licence", help="licence of the new data set (default: that of the inputs' cards)")
    add("--dataset_config", help="configuration of the inputs")
    add("--dataset_split", default="train", help="split of the inputs, or a slice: train[:1000] (default: train)")
    add("--dataset_revision", help="branch, tag or commit of inputs from the hub")
    add("--dataset_layout", help="layout that maps the rows (list: python -m open_r1.data.layouts; default: none)")
    add("--problem_column", help="text or messages (default: the first of problem, question, instruction, prompt)")
    text = "generations, pass_rate_generations, completions, completion, generation, response, messages"
    add("--generations_column", help=f"completions (default: the first of {text})")
    add("--finish_reasons_column", help="why each completion ended (default: finish_reasons, where it exists)")
    text = "gold answer (default: the first of answer, solution, ground_truth, expected_answer)"
    add("--gold_column", help=text)
    add("--domain_column", help="column with the problem's domain, for --sample_by domain")
    text = "columns to keep (default: uuid, id, problem_id, source, problem_type, question_type, domain, subject)"
    add("--keep_columns", nargs="*", help=text)
    text = "keep rows with a true contaminated_<benchmark>, and its flags"
    add("--keep_contaminated", action="store_true", help=text)
    add("--system_prompt", help="first message of each row, instead of the one it has")
    add = parser.add_argument_group(
        "1. difficulty by pass rates (bounds are included), 2. whole completions"
    ).add_argument
    text = "pass rates of small models, of which the highest counts: a data set of the same problems, or column:NAME"
    add("--easy_pass_rate", nargs="+", help=text)
    text = "highest pass rate of a small model, a number or fraction (default: 0)"
    add("--easy_max", type=rate, default="0", help=text)
    text = "the same of a strong model, or the word generations: the share of a row's own completions that is correct"
    add("--hard_pass_rate", help=text)
    add("--hard_min", type=rate, default="1/32", help="lowest pass rate of the strong model (default: 1/32)")
    add("--hard_max", type=rate, default="3/32", help="highest pass rate of the strong model (default: 3/32)")
    text = "column of the data sets with pass rates (default: pass_rate)"
    add("--pass_rate_column", default="pass_rate", help=text)
    add("--join_column", help="column that names a row in both (default: uuid or id, else the problem)")
    text = "drop problems without a pass rate, instead of refusing"
    add("--drop_without_pass_rate", action="store_true", help=text)
    text = "whether completions without <think> tags are dropped (default: require)"
    add("--reasoning", choices=("require", "any"), default="require", help=text)
    add = parser.add_argument_group("3. correct completions").add_argument
    text = "judge: the verifier with the gold answer, a column, or none (default: verifier)"
    add("--correct_by", choices=("verifier", "column", "none"), default="verifier", help=text)
    text = "a boolean or number for each completion, such as pass_rate_rewards_accuracy"
    add("--correct_column", help=text)
    text = "least number in that column that counts as correct (default: 1.0)"
    add("--correct_min", type=float, default=1.0, help=text)
    text = "OpenAI-compatible server (host:port or URL) of a judge model that decides where the verifier abstains"
    add("--judge_url", help=text)
    add("--judge_model", help="name of the judge model on --judge_url")
    add("--judge_key_env", help="environment variable that holds the API key of --judge_url")
    add("--keep_unverifiable", action="store_true", help="keep completions whose gold answer can't be verified")
    add = parser.add_argument_group("4. readable reasoning, 5. length, 6. filters of one's own").add_argument
    text = "faults for which a completion is dropped (default: none)"
    add("--readability", nargs="*", choices=READABILITY, help=text)
    add("--language", help="language of the reasoning, ISO 639-1: told apart by script (default: any)")
    text = "characters of a line that is no long_paragraph (default: 1500)"
    add("--max_paragraph_chars", type=int, default=1500, help=text)
    text = "share of words in one script, and in the language (default: 0.9)"
    add("--min_language_share", type=float, default=0.9, help=text)
    add("--max_tokens", type=int, help="most tokens of a completion, as the server or --tokenizer counts")
    add("--tokenizer", help="tokenizer.json, or a model folder with one, to count with")
    text = "file.py:function of a row (problem, completion, solution, ...): returns whether it stays, or why not"
    add("--filter", nargs="+", metavar="PLACE", help=text)
    add = parser.add_argument_group("7. best of each problem, 8. duplicates, 9. sample").add_argument
    add("--max_per_problem", type=int, help="completions of a row at most, all different (default: all)")
    orders = ("first", "rule_score", "shortest", "longest", "random")
    add("--order", choices=orders, default="first", help="which are best; rule_score is LIMO's (default: first)")
    text = (
        "duplicates to drop, in this order (default: none). Near problems agree in numbers, signs and last five words"
    )
    add("--duplicates", nargs="*", choices=DUPLICATES, help=text)
    text = "share of common three-word runs from which problems are near (default: 0.8)"
    add("--problem_threshold", type=float, default=0.8, help=text)
    add("--completion_threshold", type=float, default=0.9, help="the same of completions (default: 0.9)")
    text = "draw --num_rows rows over domains or clusters, or the best by --order"
    add("--sample_by", choices=("domain", "clusters", "order"), help=text)
    add("--num_rows", type=int, help="rows to draw")
    add("--num_clusters", type=int, default=50, help="clusters of problems (TF-IDF, k-means; default: 50)")
    add("--seed", type=int, default=42, help="of drawing, clusters and --order random (default: 42)")
    return parser


def rate(text: str) -> float:
    """Return a pass rate that is written as a number or a fraction."""
    value = float(Fraction(text.strip()))
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def parse_command_line(given: Sequence[str]) -> argparse.Namespace:
    """Return the settings of the command line and of its YAML file; exits with 2 when they make no sense."""
    parser, words = build_parser(), respelled(given, "_")
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    name = first.parse_known_args(words)[0].config
    try:
        values = yaml.safe_load(Path(name).expanduser().read_text(encoding="utf-8")) if name is not None else {}
    except (OSError, yaml.YAMLError) as error:
        parser.error(f"--config {name}: {error}")
    if not isinstance(values, dict):
        parser.error(f"--config {name} holds no flags and values, such as `max_per_problem: 1`")
    switches = {action.dest for action in parser._actions if action.nargs == 0}
    for key, value in values.items():
        if value is None or (value is False and key in switches):
            continue
        flag = [f"--{key}"] if value is True and key in switches else [f"--{key}={value}"]
        words = [*([f"--{key}", *map(str, value)] if isinstance(value, list) else flag), *words]
    args = parser.parse_args(words)
    thresholds = ("problem_threshold", "completion_threshold", "min_language_share")
    names = ("max_tokens", "max_per_problem", "num_rows", "max_paragraph_chars", "num_clusters", *thresholds)
    wrong = {f"--{name} must be above 0": (getattr(args, name) or 0) < 0 or getattr(args, name) == 0 for name in names}
    wrong |= {f"--{name} must be at most 1": getattr(args, name) > 1 for name in thresholds}
    wrong |= {
        "--output_dir is missing: name the folder of the new data set, or count with --dry_run": not (
            args.output_dir or args.dry_run
        ),
        "--sample_by and --num_rows go together": (args.sample_by is None) != (args.num_rows is None),
        "--sample_by domain needs --domain_column": args.sample_by == "domain" and args.domain_column is None,
        "--correct_by column and --correct_column go together": (args.correct_by == "column")
        != (args.correct_column is not None),
        "--judge_url and --judge_model go together": (args.judge_url is None) != (args.judge_model is None),
        "--hard_min is above --hard_max": args.hard_min > args.hard_max,
        "--easy_pass_rate generations would drop every problem with a correct completion": "generations"
        in (args.easy_pass_rate or []),
        "--hard_pass_rate generations needs verdicts: leave --correct_by none out": args.hard_pass_rate
        == "generations"
        and args.correct_by == "none",
        "--seed must be from 0 to 2**32 - 1": not 0 <= args.seed < 2**32,
    }
    for message, is_wrong in wrong.items():
        if is_wrong:
            parser.error(message)
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Curate as the command line says; return the exit status."""
    args = parse_command_line(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    from open_r1.curation.curate import curate  # seconds of imports, after the refusals

    try:
        for line in curate(args):
            print(line)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"curate.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("curate.py: Stopped; verdicts are kept, and the same command resumes.", file=sys.stderr)
        return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
