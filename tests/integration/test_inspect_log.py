# SPDX-License-Identifier: Apache-2.0
"""`scripts/export_inspect_log.py`: a finished run as a log that inspect's own reader opens."""

from inspect_ai.log import read_eval_log

from scripts import export_inspect_log, run_benchmarks
from tests.integration.benchmark_runs import folder_of, mostly_right, results_of, write_problems
from tests.integration.fakes.chat_server import ChatServer


def test_a_finished_run_becomes_a_log_that_inspect_reads(tmp_path):
    path = write_problems(tmp_path / "sums.jsonl")
    with ChatServer(mostly_right) as server:
        words = ["--url", server.address, "--data", str(path), "--output_dir", str(tmp_path / "out")]
        assert run_benchmarks.main([*words, "--num_samples", "2"]) == 0
    assert export_inspect_log.main([str(folder_of(tmp_path))]) == 0
    log = read_eval_log(str(folder_of(tmp_path) / "sums.eval"))
    assert log.results.scores[0].metrics["avg@2"].value == results_of(tmp_path)["metrics"]["avg@2"]
    scores = {(sample.id, sample.epoch): sample.scores["judged"].as_float() for sample in log.samples}
    assert scores == {(row, epoch): float(epoch == 1) for row in range(4) for epoch in (1, 2)}
    (second,) = [sample for sample in log.samples if (sample.id, sample.epoch) == (1, 1)]
    assert (second.target, second.output.completion) == ("2", "So it is \\boxed{2}.")
