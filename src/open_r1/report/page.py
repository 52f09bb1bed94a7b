# SPDX-License-Identifier: Apache-2.0
"""Report of runs: one HTML file with Vega and the data in it, which fetches nothing when opened.

Completions are text of a stranger: they are JSON here, compressed, and the page writes them as text nodes alone. A
content security policy keeps the page from asking anybody for anything.
"""

import base64
import gzip
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vl_convert

from open_r1.manifest import REPORT_NAME
from open_r1.report.alarms import alarms_of
from open_r1.report.runs import Run, read_runs

logger = logging.getLogger(__name__)

_PAGE = Path(__file__).with_name("page.html")


def write_report(runs: Sequence[Run], path: Path, *, refresh_s: int | None = None) -> None:
    """Write the page whole or not at all.

    Args:
        runs: Drawn over each other; the first is the one whose rollouts are shown first.
        path: Of the HTML file.
        refresh_s: Seconds after which a browser asks for it anew; None: never.
    """
    data = {
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "runs": [
            {
                "name": run.name,
                "facts": run.facts,
                "settings": run.settings,
                "curves": run.curves,
                "alarms": [alarm._asdict() for alarm in alarms_of(run)],
            }
            for run in runs
        ],
    }
    rollouts = [{"run": number, **row} for number, run in enumerate(runs) for row in run.rollouts]
    page = _PAGE.read_text(encoding="utf-8")
    refresh = "" if refresh_s is None else f'<meta http-equiv="refresh" content="{refresh_s}">'
    for mark, text in (
        ("<!-- refresh -->", refresh),
        # pyrefly: ignore[bad-argument-type] - None: all of Vega
        ("/* vega */", vl_convert.javascript_bundle(None)),
        ("{{ data }}", _packed(data)),
        ("{{ rollouts }}", _packed(rollouts)),
    ):
        page = page.replace(mark, text, 1)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)


def report_run(output_dir: Path) -> None:
    """Write the page of a training into its folder; a page that can't be written is a warning, since the model is."""
    try:
        write_report(read_runs([output_dir]), output_dir / REPORT_NAME)
    except (OSError, ValueError) as error:
        logger.warning("No %s: %s", REPORT_NAME, error)


def _packed(value: Any) -> str:
    """Return JSON, compressed, in letters that can't end a script element."""
    text = json.dumps(value, default=str, allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), mtime=0)).decode()
