"""The page in a real headless browser: live update, compare, search, filter, history, stages, hostile text.

Skipped where playwright or Chromium is missing; CHROMIUM names another browser of that family.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grpo.tracking.activity import ActivityLog
from grpo.tracking.run_dir import exclusive_lock
from tests.grpo.view.world import make_run, phase, sample, serving

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (requirements/dev.in)"
)
BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here: apt-get install chromium, or set CHROMIUM"
)

HOSTILE = (
    "</textarea></script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "<svg onload=\"document.title='owned'\"> &lt;b&gt; javascript:alert(1)"
)
STAGES = [
    {
        "name": "base",
        "command": "pretrain",
        "parents": [],
        "status": "done",
        "seconds": 41.0,
        "figure": "loss 0.65",
    },
    {
        "name": "zero",
        "command": "rl",
        "parents": ["base"],
        "status": "running",
        "seconds": 10.0,
        "figure": "",
    },
    {
        "name": "<i>eval</i>",
        "command": "eval",
        "parents": ["zero", "base"],
        "status": "waiting",
        "seconds": 0.0,
        "figure": "",
    },
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    make_run(root / "alpha", 4)
    (root / "alpha" / "summary.json").write_text("{}")
    make_run(root / "beta", 3)
    stop = {
        "kind": "guard",
        "error": "GuardTripped",
        "message": f"all equal {HOSTILE}",
        "step": 3,
        "at": "2026-11-29T10:00:00Z",
        "traceback": "",
    }
    (root / "beta" / "stopped.json").write_text(json.dumps(stop))
    phase(
        root / "beta", 4,
        [
            sample(4, 0, 0, reason=HOSTILE, **dict.fromkeys(("completion", "prompt", "question"), HOSTILE)),
            sample(4, 0, 1, verdict="timeout", total=None, reason=HOSTILE, finish_reason="length", advantage=None),
        ],
    )  # fmt: skip
    make_run(root / "live", 1)
    graph = root / "graph"
    make_run(graph / "zero", 2)
    (graph / "logs").mkdir()
    (graph / "logs" / "zero.log").write_text(f"update 2\n{HOSTILE}\n")
    content = {
        "name": "tiny",
        "seed": 1,
        "stages": [{"peak_mib": None, "held": "", **stage} for stage in STAGES],
    }
    (graph / "graph.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])  # CI is root
        yield started
        started.close()


@pytest.fixture
def page(root: Path, browser: Any) -> Iterator[Any]:
    """A page whose script errors, foreign requests and dialogs fail the test."""
    with serving(root) as address:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(30_000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: request.url.startswith((address, "data:")) or errors.append(request.url),
        )
        page.address = address
        yield page
        title = page.title()
        page.close()
        assert errors == []
        assert title == "grpo view"


def open_page(page: Any, *runs: str, tab: str = "curves") -> None:
    page.goto(f"{page.address}/#tab={tab}" + "".join(f"&run={run}" for run in runs))


def found(page: Any, text: str) -> None:
    """Wait until the pager says how many samples pass."""
    page.locator("#found", has_text=text).wait_for()


def test_curves_of_runs_are_compared_and_redrawn_while_one_goes_on(page: Any, root: Path) -> None:
    open_page(page, "alpha")
    points = '.card[data-key="reward/total"] path[data-run="{}"][data-points="{}"]'
    page.wait_for_selector(points.format("alpha", 4), state="attached")
    with exclusive_lock(root / "live", "busy"):
        log = ActivityLog(root / "live")
        log.begin("rollout", 1)
        page.click('#runs [data-id="live"]')
        page.wait_for_selector(points.format("live", 1), state="attached")
        page.wait_for_selector(points.format("alpha", 4), state="attached")
        page.wait_for_selector('#runs [data-id="live"].running')
        phase(root / "live", 2)
        page.wait_for_selector(
            points.format("live", 2), state="attached"
        )  # nothing was clicked: it came by itself
        with (root / "live" / "metrics.jsonl").open("a") as file:
            file.write('{"step": 3, "reward/to')  # torn: no row yet, no error
        log.begin("", 2)
        log.begin("learn", 2)
        page.click("#tab-activity")
        page.locator('[data-run="live"] .doing', has_text="learning").wait_for()
        page.wait_for_selector('[data-run="live"] [data-lane="learners"] .busy')
        assert page.locator('[data-run="live"] [data-lane="engines"] .busy').count() == 0
    page.wait_for_selector('#runs [data-id="live"].incomplete')
    page.click("#tab-curves")
    page.fill("#metric-filter", "entropy")
    sync_api.expect(page.locator(".charts .card")).to_have_count(1)


def test_samples_are_searched_filtered_sorted_and_paged(page: Any) -> None:
    open_page(page, "alpha", tab="samples")
    found(page, "1–24 of 24 found")
    page.fill('[name="text"]', "STEP 3")
    found(page, "1–6 of 6 found")
    assert page.locator("tbody mark").first.text_content() == "step 3"
    page.select_option('[name="reward"]', "accuracy")
    page.fill('[name="reward_min"]', "1")
    found(page, "1–3 of 3 found")
    page.click("#clear")
    found(page, "1–24 of 24 found")
    page.click('[data-sort="tokens"]')
    page.wait_for_selector('th[aria-sort="descending"]')
    sync_api.expect(page.locator("tbody td:nth-child(4)").first).to_have_text("15")
    page.click('[data-sort="tokens"]')
    sync_api.expect(page.locator("tbody td:nth-child(4)").first).to_have_text("11")
    page.fill('[name="step_min"]', "many")
    page.wait_for_selector('#content [role="alert"]')
    assert "step_min = 'many': not a number" in page.text_content("#content")
    page.click('#runs [data-id="beta"]')
    page.wait_for_selector('#content [role="alert"]')
    page.goto(f"{page.address}/#tab=samples&run=alpha&run=beta")
    found(page, "1–25 of 44 found")
    page.click("text=next ›")
    found(page, "26–44 of 44 found")
    page.select_option('[name="verdict"]', "failed")
    found(page, "1–1 of 1 found")
    assert "timeout" in page.text_content("tbody")


def test_one_sample_has_its_history(page: Any) -> None:
    open_page(page, "alpha", tab="samples")
    page.click('[data-sample="rl-4/1/0"]')
    page.wait_for_selector("#drawer #completion")
    assert page.text_content('[data-fact="temperature"] b') == "0.7"
    assert page.text_content('[data-fact="policy version"] b') == "3"
    assert page.text_content('[data-fact="seed"] b') == "7"
    assert page.locator('[data-reward="accuracy"] td').all_text_contents() == [
        "accuracy",
        "1",
        "× 1",
        "1",
        "no answer found",
    ]
    assert page.locator('[data-reward="format"] td').all_text_contents() == [
        "format",
        "1",
        "× 0.5",
        "0.5",
        "fine; or so",
    ]
    assert page.text_content("#advantage").startswith("0.5 (more of this)")
    page.click("#drawer tr.row:not(.this)")
    page.locator("#drawer h2", has_text="alpha · rl-4/1/1").wait_for()
    page.click("#same-prompt")
    found(page, "1–8 of 8 found")
    assert page.is_hidden("#drawer")
    page.reload()
    found(page, "1–8 of 8 found")  # the address holds what is shown


def test_the_stages_of_a_graph_are_drawn_and_open_their_runs(page: Any) -> None:
    open_page(page, "alpha")
    page.click('#runs [data-id="graph"]')
    page.wait_for_selector('svg.graph [data-stage="zero"]')
    assert page.locator("svg.graph g").count() == 3
    assert page.locator("svg.graph path.edge").count() == 3
    assert page.text_content('svg.graph [data-stage="<i>eval</i>"] .name') == "<i>eval</i>"
    page.click('svg.graph [data-stage="base"]')
    page.locator("#stage", has_text="loss 0.65").wait_for()
    page.click('svg.graph [data-stage="zero"]')
    page.wait_for_selector("#stage pre.log")
    assert HOSTILE in page.text_content("#stage pre.log")
    page.click("#stage button >> text=curves")
    page.wait_for_selector('path[data-run="graph/zero"]', state="attached")


def test_what_a_model_wrote_is_text_everywhere(page: Any) -> None:
    open_page(page, "beta", tab="samples")
    found(page, "1–20 of 20 found")
    shown = page.locator('[data-sample="rl-4/0/0"]').text_content()
    assert shown.count(HOSTILE) >= 2
    assert HOSTILE in page.text_content("#notices")
    page.fill('[name="text"]', "</textarea>")
    found(page, "1–1 of 1 found")
    page.click('[data-sample="rl-4/0/0"]')
    page.wait_for_selector("#drawer #completion")
    assert page.text_content("#completion") == HOSTILE
    assert (
        page.locator("#content script, #content img, #drawer script, #drawer img, #drawer textarea").count()
        == 0
    )
    page.click("#close")
    page.click("#tab-about")
    page.wait_for_selector("#content pre")


@pytest.mark.parametrize("tab", ["curves", "samples", "activity"])
def test_an_answer_that_comes_after_a_change_of_tab_draws_nothing(page: Any, tab: str) -> None:
    held: list[Any] = []
    page.route(f"**/api/{tab}*", lambda route: held.append(route))
    open_page(page, "beta", tab=tab)
    page.wait_for_function("document.getElementById('tab-about') !== null")
    while not held:
        page.wait_for_timeout(20)
    page.click("#tab-about")
    page.wait_for_selector("#content pre")
    shown = page.inner_html("#content")
    for route in held:
        with page.expect_response(f"**/api/{tab}*"):
            route.continue_()
    page.wait_for_timeout(200)
    assert page.inner_html("#content") == shown


def test_a_tab_that_got_no_answer_is_shown_again_by_the_next_choice(page: Any) -> None:
    page.route("**/api/samples*", lambda route: route.abort())
    open_page(page, "beta", tab="samples")
    page.locator("#content .notice", has_text="no answer from grpo view").wait_for()
    page.unroute("**/api/samples*")
    page.click('#runs [data-id="alpha"]')
    found(page, "of ")
    page.wait_for_selector("#content table.samples")
