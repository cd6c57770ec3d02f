"""A real Chromium for the tests of the page, and what they do in it."""

import os
import re
import shutil

import pytest
from playwright.sync_api import sync_playwright
from tests.support.waiting import eventually

CHROMIUM = os.environ.get("MUNIFLOW_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WAIT_MS = 30_000


@pytest.fixture(scope="module")
def browser():
    # Not for the session: while it lives, this thread has a running event loop, and other tests begin their own.
    if CHROMIUM is None:
        missing = "needs Chromium: apt-get install chromium, or name one with MUNIFLOW_TEST_CHROMIUM"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, stack):
    """Opens the page; no script error, no refused resource and no other host is allowed in any test."""
    contexts, troubles, expected = [], [], ["401", "422"]

    def trouble(message):
        if message.type in {"error", "warning"} and not any(status in message.text for status in expected):
            troubles.append(message.text)

    def opened(path="/", base=None, expecting=(), **options):
        expected.extend(expecting)
        context = browser.new_context(accept_downloads=True, **{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", trouble)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: outside(request.url, base or stack.url, troubles))
        page.goto((base or stack.url) + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == [], troubles


def outside(url, base, troubles):
    if not url.startswith((base, "blob:", "data:")):
        troubles.append(f"asks another host: {url}")


def until(page, expression, argument=None):
    """Wait for an expression; playwright's own way needs `eval`, which the page's policy forbids."""
    eventually(lambda: page.evaluate(expression, argument), WAIT_MS / 1000)


def send(page, files, *operations):
    page.set_input_files("#files", files)
    for name in operations:
        page.get_by_role("button", name=f"+ {name}").click()
    page.locator("button.primary", has_text="Send").click()
    page.wait_for_url(re.compile("#/batch/"))
    return page.url.rpartition("/")[2]


def as_files(*pictures):
    return [{"name": name, "mimeType": "image/jpeg", "buffer": body} for name, body in pictures]
