# SPDX-License-Identifier: Apache-2.0
"""Model card of a run: what TRL's leaves out, from the settings and the metrics of the run.

## How it was made
- data: `tasks/running_sums` (rl), split `train`: 20,480 rows
- rewards: `accuracy` (1.0), `format` (0.25)
- score: eval_accuracy_reward/avg@8 0.93 [0.9, 0.95]
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from open_r1.training.callbacks import describe_benchmarks

_FOLDERS = re.compile(r"(?<![\w/.:])/(?:[^\s/'\",:]+/)+")  # of an absolute path, which says nothing elsewhere


def extend_model_card(output_dir: Path, run: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    """Add command, data with sizes, rewards, scores, versions and settings of a run to the card in its folder.

    Args:
        output_dir: Holds README.md.
        run: As of `describe_run`; it holds no secrets.
        metrics: Of training and evaluation.
    """
    text = _FOLDERS.sub("", "\n".join(_lines(run, metrics)))
    with (output_dir / "README.md").open("a", encoding="utf-8") as card:
        card.write(f"\n{text}\n")


def _lines(run: Mapping[str, Any], metrics: Mapping[str, float]) -> list[str]:
    settings = run["settings"]
    rewards = settings.get("reward_funcs") or []
    weights = settings.get("reward_weights") or [1.0] * len(rewards)
    facts = {
        "command": f"`{run['command']}`",
        "hardware": run["hardware"],
        "data": _data(settings, metrics),
        "rewards": ", ".join(f"`{name}` ({weight})" for name, weight in zip(rewards, weights, strict=False)),
        "score": "; ".join(describe_benchmarks(metrics)),
        "seconds": f"{metrics['train_runtime']:,.0f}" if "train_runtime" in metrics else "",
        "versions": ", ".join(f"{name} {version}" for name, version in run["versions"].items()),
        "commit": run["commit"],
    }
    changed = {name: value for name, value in settings.items() if value not in (None, [], {}, "")}
    return [
        "## How it was made\n",
        *(f"- {name}: {fact}" for name, fact in facts.items() if fact),
        "\n<details><summary>All settings</summary>\n\n```yaml",
        yaml.safe_dump(changed, allow_unicode=True, width=1000).rstrip(),
        "```\n</details>",
    ]


def _data(settings: Mapping[str, Any], metrics: Mapping[str, float]) -> str:
    """Return names, configurations and splits of the data, and how many rows were used."""
    mixture = settings.get("dataset_mixture") or {}
    parts = [
        f"`{part['id']}`" + (f" ({part['config']})" if part.get("config") else "")
        for part in mixture.get("datasets", [])
    ]
    if settings.get("dataset_name"):
        of_config = f" ({settings['dataset_config']})" if settings.get("dataset_config") else ""
        parts = [f"`{settings['dataset_name']}`{of_config}, split `{settings['dataset_train_split']}`"]
    rows = f"{metrics['train_samples']:,} rows" if "train_samples" in metrics else ""
    if "eval_samples" in metrics:
        rows += f", evaluated on {metrics['eval_samples']:,} rows of `{settings['dataset_test_split']}`"
    return f"{', '.join(parts)}: {rows}"
