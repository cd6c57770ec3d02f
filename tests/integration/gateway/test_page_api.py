"""The API page at `/docs` in a real browser: the page's policy, files of its own, the key of the session."""

import gzip
import hashlib

import pytest
from playwright.sync_api import expect

from muniflow_gateway.api_page.routes import PACKED, read_file
from muniflow_gateway.auth.api_keys import make_key

pytestmark = pytest.mark.timeout(120)


def test_the_page_shows_every_operation_and_asks_no_other_host(open_page, http):
    page = open_page("/docs")
    operations = [each for path in http.get("/openapi.json").json()["paths"].values() for each in path.values()]
    expect(page.locator(".opblock")).to_have_count(len(operations))
    expect(page.locator(".opblock-tag").first).to_contain_text("submit")
    page.locator("#operations-batches-listBatches").get_by_role("button").first.click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")


def test_requests_of_the_page_carry_the_key_of_the_session(open_page, own_gateway, tmp_path):
    keys = tmp_path / "keys-of-the-page"
    secret = make_key(keys, "utrecht")
    gateway = own_gateway(MUNIFLOW_API_KEYS_FILE=str(keys), MUNIFLOW_GATEWAY_OPEN="false")
    page = open_page("/", base=gateway.url)
    page.fill("#key", secret)
    page.locator("#sign-in button.primary").click()
    expect(page.locator("#sign-out")).to_be_visible()
    page.get_by_role("link", name="API", exact=True).click()
    page.locator("#operations-pipeline-getSession").get_by_role("button").first.click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table .highlight-code").first).to_contain_text('"name": "utrecht"')


@pytest.mark.parametrize("name", PACKED)
def test_what_is_kept_of_swagger_ui_is_as_its_package_has_it(name):
    body, _ = read_file(name)
    assert hashlib.sha256(gzip.decompress(body)).hexdigest() == PACKED[name]
