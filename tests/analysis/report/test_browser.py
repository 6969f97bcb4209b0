"""The page in a browser, from disk: no error, no request that leaves the folder, and all of it within reach of keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.report.make import make
from analysis.report.own import load_own
from tests.analysis.miniature import make_run
from tightfit.bench.page import BROWSERS

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium of the system; nothing is downloaded."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("needs chromium on the PATH, such as that of apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(params=["light", "dark"])
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page that fails its test on any error, warning, failed request, or request to a network."""
    context = browser.new_context(offline=True, color_scheme=request.param, viewport=DESKTOP)
    opened, wrong = context.new_page(), []
    opened.on("console", lambda message: message.type in ("error", "warning") and wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("requestfailed", lambda asked: wrong.append(asked.url))
    opened.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or wrong.append(asked.url))
    yield opened
    context.close()
    assert not wrong


@pytest.fixture
def index(tmp_path: Path, own_runs: Path) -> str:
    return make(tmp_path / "report", load_own(own_runs)).as_uri()


def test_tabs_are_chosen_by_keys_and_kept_in_the_address(page: Any, index: str) -> None:
    page.goto(index)
    tabs = page.locator(".tabs > input")
    assert tabs.count() == 2
    tabs.nth(0).focus()
    page.keyboard.press("ArrowRight")
    assert tabs.nth(1).is_checked()
    assert page.locator(".panel:visible").count() == 1
    assert page.url.endswith("#answer-1")
    page.reload()
    assert page.locator(".tabs > input").nth(1).is_checked()


def test_keys_reach_every_control(page: Any, index: str) -> None:
    page.goto(index)
    wanted = page.locator("a:visible, button:visible, input[type=search], summary, .wide:visible").count()
    reached = set()
    for _ in range(wanted + 20):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    assert len(reached) >= wanted


def test_the_list_of_runs_is_searched_and_sorted(page: Any, index: str) -> None:
    page.goto(index)
    rows = page.locator("#runs tbody tr")
    assert rows.count() == 12
    page.fill("input[type=search]", "over budget")
    assert rows.count() == 2
    page.fill("input[type=search]", "")
    page.get_by_role("button", name="accuracy").click()
    page.get_by_role("button", name="accuracy").click()
    assert rows.first.locator("td").nth(6).inner_text() == "98.00"
    rows.first.locator("a").click()
    assert page.locator("h1").inner_text().endswith("finished")
    page.get_by_role("link", name="All runs").click()
    assert page.locator("#runs").is_visible()


def test_a_hostile_name_is_shown_as_it_is(page: Any, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)></script>"
    make_run(tmp_path / "runs", "scratch", "full_zo", "x", [0.1, 0.5], cell=None, optimizer={"name": name})
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(make(tmp_path / "report", load_own(tmp_path / "runs")).as_uri())
    assert name in page.locator("#runs tbody").inner_text()
    assert page.locator("img").count() == 0


def test_no_page_is_wider_than_a_phone(page: Any, index: str) -> None:
    page.set_viewport_size(PHONE)
    page.goto(index)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.locator("#runs tbody a").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_paper_is_white_and_has_every_tab(page: Any, index: str) -> None:
    page.goto(index)
    page.emulate_media(media="print")
    assert page.locator(".panel:visible").count() == page.locator(".panel").count() > 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_without_scripts_tables_and_tabs_are_there(browser: Any, index: str) -> None:
    context = browser.new_context(offline=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(index)
    assert page.locator("#runs tbody tr").count() == 12
    assert page.locator(".panel:visible").count() == 1
    context.close()
