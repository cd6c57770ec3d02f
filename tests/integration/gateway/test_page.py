"""The page in a real Chromium: upload to download, a failure and its replay, live updates, keyboard, phone, dark."""

import io
import re
import time
import zipfile

import pytest
from playwright.sync_api import expect
from tests.integration.gateway.help import PICTURES, form, picture
from tests.integration.gateway.pages import WAIT_MS, as_files, send, until
from tests.support import web
from tests.support.stopping import stopped

pytestmark = pytest.mark.timeout(120)


def test_from_upload_to_download(open_page):
    page = open_page()
    page.get_by_label("Municipality (optional)").fill("Utrecht")
    page.set_input_files("#files", [str(path) for path in PICTURES[:2]])
    for name in ("resize", "split", "blur"):
        page.get_by_role("button", name=f"+ {name}").click()
    page.get_by_label("Parameter of step 2, split").select_option("3x2")
    page.get_by_role("button", name="Move blur up").click()
    page.get_by_role("button", name="Move blur down").click()
    shown = page.locator("pre.json").text_content()
    assert shown.index('["resize", "50%"]') < shown.index('["split", "3x2"]') < shown.index('["blur"')
    expect(page.locator(".plan")).to_have_text(re.compile(r"^(About|Under) .*, done at \d\d:\d\d"), timeout=WAIT_MS)
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


def test_checksums_and_earlier_runs_are_folded_away_until_they_are_wanted(open_page):
    page = open_page()
    json = page.locator("pre.json")
    expect(page.get_by_label("The same batch once more")).to_be_hidden()
    expect(json).not_to_contain_text(re.compile("checksums|strict|replace|again"))
    page.get_by_text("Checksums and earlier runs").click()
    page.get_by_label("Checksums (SHA-256) in the report").check()
    page.get_by_label("Refuse files that are no images").check()
    page.get_by_label("Remove what an earlier run has made first").check()
    page.get_by_label("The same batch once more").select_option("changed")
    for text in ('"checksums": true', '"strict": true', '"replace": true', '"again": "changed"'):
        expect(json).to_contain_text(text)
    send(page, as_files(picture(0)), "resize")
    expect(page.locator(".batch-head .pill")).to_have_text("done", timeout=WAIT_MS)


def test_colours_transparency_and_bands_are_folded_away_until_they_are_wanted(open_page):
    page = open_page()
    json = page.locator("pre.json")
    expect(page.get_by_label("Colours of a profile")).to_be_hidden()
    expect(json).not_to_contain_text(re.compile("color|alpha|background|bands|metadata"))
    page.get_by_text("Colours, transparency, bands and metadata").click()
    page.get_by_label("Colours of a profile").select_option("keep")
    page.get_by_label("Background").fill("#00ff00")
    page.get_by_label("Metadata of photographs").select_option("gps")
    expect(json).to_contain_text('"metadata": "gps"')
    expect(json).to_contain_text('"color": "keep"')
    expect(json).to_contain_text('"background": "#00ff00"')
    expect(page.get_by_label("Transparent parts")).to_be_disabled()
    page.get_by_label("Output").select_option("png")
    expect(json).not_to_contain_text("background")
    page.get_by_label("Transparent parts").select_option("flatten")
    expect(json).to_contain_text('"alpha": "flatten"')
    page.get_by_label("Bands for red, green, blue").fill("4, 1, 2")
    expect(json).to_contain_text('"bands": [4')
    expect(json).not_to_contain_text(re.compile("alpha|background"))
    send(page, as_files(picture(0)), "resize")
    expect(page.locator(".batch-head .pill")).to_have_text("failed", timeout=WAIT_MS)
    expect(page.locator(".failures .reason")).to_contain_text("bands: the image has no band 4; it has 3")


def test_a_failure_shows_its_reason_and_is_replayed(open_page, stack):
    name, body = picture(2)
    page = open_page()
    batch_id = send(page, as_files(picture(0), (f"broken-{name}", body[: len(body) // 2])), "resize")

    expect(page.get_by_role("heading", name="1 image failed")).to_be_visible()
    expect(page.locator(".failures .reason")).to_contain_text("truncated")
    (failed,) = web.get(f"{stack.url}/v1/batches/{batch_id}/images?state=failed").json()["images"]
    until(page, "[...document.images].every(image => image.complete)")  # what is sent now is not changed meanwhile
    source = stack.folder / failed["source"]
    source.with_name(".mended").write_bytes(body)
    source.with_name(".mended").replace(source)
    page.get_by_role("button", name=re.compile("^Replay 1 image: ")).click()

    expect(page.locator(".batch-head .pill")).to_have_text("done", timeout=WAIT_MS)
    expect(page.locator(".failures")).to_have_count(0)
    expect(page.locator(".image.done")).to_have_count(2)


def test_progress_moves_without_a_reload(open_page, stack):
    page = open_page()
    expect(page.locator(".stage")).to_have_count(3)
    pictures = [picture(number) for number in range(80)]
    actions = {"municipality": "Delft", "operations": [["resize", "500x"], ["blur", "bilateral"]], "output": "jpg"}
    bar = page.get_by_role("progressbar", name="Images settled")
    with stopped(stack.pids("blur")):  # a fast machine would be through before the page is looked at
        answer = web.post(f"{stack.url}/v1/batches", timeout=60, **form(*pictures, actions=actions))
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
    expect(page.locator(".track-of")).to_have_text(re.compile("^Forecast at its start: .* nine times in ten"))
    expect(page.locator(".track")).to_have_count(0)


def test_what_is_wrong_is_said_by_its_place(open_page):
    page = open_page()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".problems")).to_contain_text("Choose at least one")

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


def test_a_broker_without_memory_is_said_and_sending_again_is_one_batch(own_gateway, open_page, low_memory):
    gateway = own_gateway(MUNIFLOW_PUBLISH_TIMEOUT_S="2")
    page = open_page(base=gateway.url, expecting=["503"])
    page.set_input_files("#files", as_files(picture(0)))
    page.get_by_role("button", name="+ resize").click()
    before = newest(gateway)
    with low_memory():
        page.get_by_role("button", name="Send 1 image").click()
        expect(page.locator(".problems")).to_contain_text("low on memory", timeout=WAIT_MS)
        expect(page.locator(".why")).to_contain_text("Cannot send now: ")
        expect(page.get_by_role("button", name="Send 1 image")).to_be_disabled()
    expect(page.get_by_role("button", name="Send 1 image")).to_be_enabled(timeout=WAIT_MS)
    expect(page.locator(".problems")).to_be_empty()
    page.get_by_role("button", name="Send 1 image").click()
    page.wait_for_url(re.compile("#/batch/"))
    expect(page.locator(".batch-head .pill")).to_have_text("done", timeout=WAIT_MS)
    assert len(newest(gateway) - before) == 1


def newest(gateway):
    return {batch["batch_id"] for batch in web.get(f"{gateway.url}/v1/batches?limit=100").json()["batches"]}


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


def test_it_fits_a_phone(open_page):
    page = open_page(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    page.wait_for_selector(".stage")
    for name in ("resize", "split", "blur"):
        page.get_by_role("button", name=f"+ {name}").tap()

    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_browser_signs_in_with_a_key(own_gateway, open_page, tmp_path):
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
