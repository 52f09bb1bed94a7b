# SPDX-License-Identifier: Apache-2.0
"""The page of a run in headless Chromium: curves are drawn, rollouts sort, filter and open, and nothing is fetched.

`make test_browser` installs Chromium; BROWSER names another one.
"""

import json
import os
import shutil

import pandas as pd
import pytest
from playwright.sync_api import sync_playwright

from open_r1.report.page import write_report
from open_r1.report.runs import read_runs

HOSTILE = (
    "<script>document.title = 'taken'</script><img src=https://example.invalid/x onerror=\"document.title='taken'\">"
)
GROUP_SIZE = 4


def write_run(folder, *, num_steps, groups_a_step):
    """A GRPO run: `num_steps` points of curves, and `groups_a_step` groups of rollouts each step."""
    (folder / "rollouts").mkdir(parents=True)
    log = [
        {"step": step, "reward": step / num_steps, "entropy": 1.0, "epoch": 1.0} for step in range(1, num_steps + 1)
    ]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    manifest = {"settings": {"learning_rate": 1e-6}, "versions": {"torch": "2.13.0"}, "commit": "abc"}
    (folder / "run_manifest.json").write_text(json.dumps({"runs": [manifest]}))
    for step in range(1, num_steps + 1):
        rows = [
            {
                "prompt": [{"role": "user", "content": f"step {step} problem {group} {HOSTILE}"}],
                "completion": f"<think>\nthought {index} {HOSTILE}\n</think>\n\\boxed{{{index}}} {HOSTILE}",
                "solution": "0",
                "num_tokens": 20 + group,
                "is_truncated": False,
                "accuracy_reward": float(index <= group % GROUP_SIZE),
                "accuracy_reward/verdict": "right" if index <= group % GROUP_SIZE else "wrong",
                "accuracy_reward/answer_read": str(index),
                "advantage": 0.5 - index,
                "step": step,
            }
            for group in range(groups_a_step)
            for index in range(GROUP_SIZE)
        ]
        pd.DataFrame(rows).to_parquet(folder / "rollouts" / f"train-{step:06d}-0.parquet")
    return folder


@pytest.fixture(scope="module")
def browser():
    program = os.environ.get("BROWSER") or shutil.which("chromium")
    assert program, "no chromium on the PATH: `make test_browser` installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens a report; at the end nothing has been asked for but its file, and the console holds no error."""
    asked, said = [], []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))

    def opened(path):
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready=yes]", timeout=120_000)
        return page

    yield opened
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in asked) == 1
    assert said == []
    page.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("small") / "run", num_steps=2, groups_a_step=4)
    write_report(read_runs([folder]), folder / "report.html")
    return folder / "report.html"


def titles(page):
    return [row.text_content() for row in page.locator("#groups details.group > summary").all()]


def test_curves_and_texts_of_strangers(open_page, small):
    page = open_page(small)
    assert page.locator("#curves figure svg").count() >= 2
    assert "commit" in page.locator("#facts").text_content()
    assert page.title() == "run"
    assert page.locator("#groups script, #groups img").count() == 0


def test_groups_are_sorted(open_page, small):
    page = open_page(small)
    page.select_option("#sort", "low")
    assert [title.split("reward ")[-1] for title in titles(page)] == ["0.25"] * 2 + ["0.50"] * 2 + ["0.75"] * 2 + [
        "1.00"
    ] * 2
    page.select_option("#sort", "high")
    assert titles(page)[0].endswith("reward 1.00")
    page.select_option("#sort", "long")
    assert "problem 3" in titles(page)[0]


def test_groups_are_filtered(open_page, small):
    page = open_page(small)
    page.select_option("#verdict", "wrong")
    assert page.locator("#found").text_content() == "6 groups"
    page.fill("#search", "step 2 problem 1")
    assert page.locator("#found").text_content() == "1 group"
    assert "1 of" not in titles(page)[0] and "2 of 4 right" in titles(page)[0]


def test_rollout_opens_with_its_thoughts_folded(open_page, small):
    page = open_page(small)
    page.locator("#groups details.group > summary").first.click()
    rollouts = page.locator("#groups details[open] .rollout")
    assert rollouts.count() == 1 + GROUP_SIZE
    first = rollouts.nth(1)
    assert "answer read: 0" in first.text_content()
    assert not first.locator("details.think pre").is_visible()
    first.locator("details.think > summary").click()
    assert HOSTILE in first.locator("details.think pre").text_content()
    assert page.title() == "run"


def test_fifty_thousand_rollouts_are_paged_and_searched(open_page, tmp_path):
    folder = write_run(tmp_path / "run", num_steps=50, groups_a_step=250)
    write_report(read_runs([folder]), folder / "report.html")
    page = open_page(folder / "report.html")
    shown = page.locator("#groups details.group").count()
    assert 0 < shown <= 100
    page.click("#on")
    assert page.locator("#page").text_content().startswith("page 2 of ")
    page.fill("#search", "step 37 problem 201 ")
    page.wait_for_function("document.getElementById('found').textContent === '1 group'", timeout=30_000)
