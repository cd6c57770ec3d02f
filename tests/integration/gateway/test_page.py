"""The page in a real Chromium: upload to download, a failure and its replay, live updates, keyboard, phone, dark."""

import io
import os
import re
import shutil
import time
import zipfile

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright
from tests.integration.gateway.help import PICTURES, form, picture
from tests.support.stopping import stopped
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

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def browser():
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
    assert troubles == []


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


def test_from_upload_to_download(open_page):
    page = open_page()
    page.get_by_label("Municipality (optional)").fill("Utrecht")
    page.set_input_files("#files", [str(path) for path in PICTURES[:2]])
    for name in ("resize", "split", "blur"):
        page.get_by_role("button", name=f"+ {name}").click()
    page.get_by_label("Parameter of step 2, split").select_option("3x2")
    page.get_by_role("button", name="Move blur up").click()
    page.get_by_role("button", name="Move blur down").click()
    shown = page.locator("pre.json").inner_text()
    assert shown.index('["resize", "200x300"]') < shown.index('["split", "3x2"]') < shown.index('["blur"')
    page.get_by_role("button", name="Send 2 images").click()

    expect(page.get_by_role("heading", name="Utrecht")).to_be_visible()
    expect(page.locator(".batch-head .pill")).to_have_text("done", timeout=WAIT_MS)
    expect(page.locator(".image.done")).to_have_count(2)
    first = page.locator(".image").first
    expect(first.locator(".tiles img")).to_have_count(6)
    columns = first.locator(".tiles").evaluate("tiles => getComputedStyle(tiles).gridTemplateColumns.split(' ').length")
    assert columns == 3
    until(page, ALL_SHOWN)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download 12 outputs (ZIP)").click()
    archive = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes()))
    assert len(archive.namelist()) == 12
    assert archive.testzip() is None


def test_a_failure_shows_its_reason_and_is_replayed(open_page, stack):
    name, body = picture(2)
    page = open_page()
    batch_id = send(page, as_files(picture(0), (f"broken-{name}", body[: len(body) // 2])), "resize")

    expect(page.get_by_role("heading", name="1 image failed")).to_be_visible()
    expect(page.locator(".failures .reason")).to_contain_text("truncated")
    (failed,) = httpx.get(f"{stack.url}/v1/batches/{batch_id}/images?state=failed").json()["images"]
    (stack.folder / failed["source"]).write_bytes(body)
    page.get_by_role("button", name="Run all failed images again").click()

    expect(page.locator(".batch-head .pill")).to_have_text("done", timeout=WAIT_MS)
    expect(page.locator(".failures")).to_have_count(0)
    expect(page.locator(".image.done")).to_have_count(2)


def test_progress_moves_without_a_reload(open_page, stack):
    page = open_page()
    expect(page.locator(".stage")).to_have_count(3)
    pictures = [picture(number) for number in range(80)]
    actions = {"municipality": "Delft", "operations": [["resize", "900x"], ["blur", "bilateral"]], "output": "jpg"}
    bar = page.get_by_role("progressbar", name="Images settled")
    with stopped(stack.pids("blur")):  # a fast machine would be through before the page is looked at
        answer = httpx.post(f"{stack.url}/v1/batches", timeout=60, **form(*pictures, actions=actions))
        row = page.locator(f'[data-batch="{answer.json()["batch_id"]}"]')
        expect(row).to_contain_text("Delft")
        until(page, "[...document.querySelectorAll('.backlog-number')].some(n => Number(n.textContent) > 0)")
        drawn = page.locator("canvas").first.evaluate("c => c.toDataURL()")
        until(page, "before => document.querySelector('canvas').toDataURL() !== before", drawn)
        row.click()
        expect(bar).to_have_attribute("aria-valuenow", "0")
    seen = {"0"}
    deadline_s = time.monotonic() + 60
    while page.locator(".batch-head .pill").inner_text() != "done":
        assert time.monotonic() < deadline_s
        seen.add(bar.get_attribute("aria-valuenow"))
        page.wait_for_timeout(50)
    assert len(seen) >= 3
    assert bar.get_attribute("aria-valuetext") == "80 of 80 images done"


def test_what_is_wrong_is_said_by_its_place(open_page):
    page = open_page()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".problems")).to_contain_text("choose at least one")

    page.set_input_files("#files", as_files(("notes.jpg", b"these are no pixels" * 10), picture(0)))
    page.get_by_role("button", name="+ resize").click()
    page.get_by_label("Parameter of step 1, resize").select_option("other …")
    page.get_by_label("Parameter of step 1, resize, as text").fill("huge")
    page.get_by_role("button", name="Send 2 images").click()

    problems = page.locator(".problems")
    expect(problems).to_contain_text("files[0]")
    expect(problems).to_contain_text("it seems to be text")
    expect(problems).to_contain_text("operations[0]")
    expect(problems).to_be_focused()


def test_a_broker_without_memory_is_said_and_sending_again_is_one_batch(open_page, own_gateway, low_memory):
    gateway = own_gateway(MUNIFLOW_PUBLISH_TIMEOUT_S="2")
    page = open_page(base=gateway.url, expecting=["503"])
    page.set_input_files("#files", as_files(picture(0)))
    page.get_by_role("button", name="+ resize").click()
    before = newest(gateway)
    with low_memory():
        page.get_by_role("button", name="Send 1 image").click()
        expect(page.locator(".problems")).to_contain_text("low on memory", timeout=WAIT_MS)
    eventually(gateway.ready)
    page.get_by_role("button", name="Send 1 image").click()
    page.wait_for_url(re.compile("#/batch/"))
    expect(page.locator(".batch-head .pill")).to_have_text("done", timeout=WAIT_MS)
    assert len(newest(gateway) - before) == 1


def newest(gateway):
    return {batch["batch_id"] for batch in httpx.get(f"{gateway.url}/v1/batches?limit=100").json()["batches"]}


def test_a_batch_is_sent_by_keyboard_alone(open_page):
    page = open_page()
    page.wait_for_selector(".add")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#files")).to_be_focused()
    page.set_input_files("#files", as_files(picture(1)))
    reach(page, page.get_by_role("button", name="+ blur"))
    page.keyboard.press("Enter")
    expect(page.get_by_label("Parameter of step 1, blur")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("pre.json")).to_contain_text("updownsampling")
    reach(page, page.get_by_role("button", name="Send 1 image"))
    page.keyboard.press("Enter")
    expect(page.locator(".batch-head .pill")).to_have_text("done", timeout=WAIT_MS)


def reach(page, element):
    for _ in range(40):
        if element.evaluate("e => e === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("not reached by Tab")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "batch"])
def test_text_stands_out_and_controls_have_names(open_page, stack, scheme, path):
    if path == "batch":
        batch_id = httpx.post(f"{stack.url}/v1/process", timeout=60, **form(picture(0))).headers["X-Batch-Id"]
        path = f"/#/batch/{batch_id}"
    page = open_page(path, color_scheme=scheme)
    page.wait_for_selector(".pill")

    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(PALE) == []


def test_it_fits_a_phone(open_page):
    page = open_page(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    page.wait_for_selector(".stage")
    for name in ("resize", "split", "blur"):
        page.get_by_role("button", name=f"+ {name}").tap()

    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_browser_signs_in_with_a_key(open_page, own_gateway, tmp_path):
    from muniflow_gateway.auth.api_keys import make_key

    secret = make_key(tmp_path / "keys", "utrecht")
    page = open_page(base=own_gateway(MUNIFLOW_API_KEYS_FILE=str(tmp_path / "keys")).url)

    page.get_by_role("textbox", name="API key").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not known")
    page.get_by_role("textbox", name="API key").fill(secret)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".stage")).to_have_count(3)
    send(page, as_files(picture(0)), "resize")
    expect(page.locator(".batch-head .pill")).to_have_text("done", timeout=WAIT_MS)
    until(page, ALL_SHOWN)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="An API key is needed")).to_be_visible()


ALL_SHOWN = "[...document.querySelectorAll('.image img')].every(image => image.complete && image.naturalWidth > 0)"
NAMELESS = """() => [...document.querySelectorAll('a, button, input, select, img, canvas')]
  .filter(e => e.offsetParent !== null && !e.closest('[aria-hidden]'))
  .filter(e => !(e.getAttribute('aria-label') || e.innerText?.trim() || e.labels?.length || e.hasAttribute('alt')))
  .filter(e => !e.querySelector('img:not([alt=""])'))
  .map(e => e.outerHTML.slice(0, 120))"""
"""What a screen reader would have no word for."""

PALE = """() => {
  const parse = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
  const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (rgb) => rgb.slice(0, 3).map(v => linear(v / 255)).reduce(
    (sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const rgb = parse(getComputedStyle(e).backgroundColor);
      if (rgb.length === 3 || rgb[3] === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.offsetParent === null || e.disabled || e.closest('.remove')) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(getComputedStyle(e).fontSize) >= 20;
    if (ratio < (large ? 3 : 4.5)) found.push(`${e.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""
"""Text whose contrast with its ground is below WCAG AA."""
