# SPDX-License-Identifier: Apache-2.0
"""The command line of `run_benchmarks.py`: what is left out is as the settings have it, and help comes at once."""

import os
from dataclasses import replace

from open_r1.evaluation.flags import build_parser, settings_of
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.sandbox.providers import PROVIDERS, SandboxSettings


def test_flags_that_are_left_out_are_the_defaults_of_the_settings():
    cores = len(os.sched_getaffinity(0))
    found = settings_of(build_parser(None).parse_args(["--model_id", "m"]))
    empty = {"servers": (), "serve_args": (), "served_with": ()}  # of flags: lists
    assert not any(getattr(found, name) for name in empty)
    assert replace(found, **empty) == EvaluationSettings("m", sandbox=SandboxSettings(num_parallel=cores))


def test_flags_name_the_sandboxes_that_there_are():
    (choices,) = [action.choices for action in build_parser(None)._actions if action.dest == "code_provider"]
    assert tuple(choices) == PROVIDERS
