"""Every state of the page on one stack: axe finds nothing, light and dark, and in Dutch no text is English."""

import json
import re
from contextlib import contextmanager

import numpy as np
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import expect
from tests.integration.gateway.help import form, picture
from tests.integration.gateway.pages import WAIT_MS, as_files, until
from tests.support import web
from tests.support.stopping import stopped

from muniflow.images.opencv import cv2
from muniflow_gateway.page.language import texts_of

pytestmark = pytest.mark.timeout(600)
ROUTE = [["resize", "50%"], ["split", "3x2"]]
REJECTED = {
    "batch_id": "geweigerd",
    "name": "Gevels",
    "source": "nergens",
    "manifest": "weg.txt",
    "operations": ROUTE,
    "output": "jpg",
}
MIXED = {"batch_id": "gemengd", "source": "gemengd", "manifest": None, "operations": ROUTE[:1]}
END_OF_JPEG = b"\xff\xd9"
UNTRANSLATED = 'the JPEG is damaged: the decoder says "a new complaint"'
AWAY = {"status": 503, "reason": "broker", "detail": "the broker takes no messages: low on memory"}
NO_KEY = {"status": 401, "reason": "key", "detail": "the API key is not known, or was revoked"}


class Walk:
    """A page in Dutch whose texts are marked, and what is wrong in the states that it was in."""

    def __init__(self, page, url):
        self.page = page
        self.url = url
        self.found = []
        self.turns = 0
        page.route(re.compile(rf"^{re.escape(url)}/(\?.*)?$"), lambda route: marked(route, json_texts))
        page.route(f"{url}/static/**", lambda route: marked(route, listing_texts))
        page.route(f"{url}/page/said.nl.json", lambda route: marked(route, said_texts))

    def go(self, path):
        # Another address each time: with another fragment only, the page would not begin anew.
        self.turns += 1
        before, hash_mark, fragment = path.partition("#")
        self.page.goto(f"{self.url}{before}?{self.turns}{hash_mark}{fragment}")

    def look(self, state):
        """Check the state that the page is in now."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE_SCRIPT)
        for scheme, options in SCHEMES.items():
            self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            self.found += [(state, scheme, *each) for each in self.page.evaluate(VIOLATIONS, options)]
        self.found += [(state, text) for text in self.page.evaluate(UNMARKED)]

    def problem(self, address, status, body):
        """`with problem(…)`: an address is answered with a problem."""
        return refused(self.page, address, status, body)


@contextmanager
def refused(page, address, status, body):
    page.route(address, lambda route: route.fulfill(status=status, content_type="application/problem+json", json=body))
    yield
    page.unroute(address)


def marked(route, change):
    """Answer with marked texts, and without the policy that forbids axe to run."""
    answer = route.fetch()
    headers = {name: value for name, value in answer.headers.items() if name != "content-security-policy"}
    route.fulfill(response=answer, headers=headers, body=change(answer.text()))


def mark(text):
    return {form: f"⟦{words}" for form, words in text.items()} if isinstance(text, dict) else f"⟦{text}"


def json_texts(body):
    before, start, rest = body.partition('<script type="application/json" id="texts">')
    inside, end, after = rest.partition("</script>")
    assert json.loads(inside) == texts_of("nl")
    texts = json.dumps({key: mark(text) for key, text in texts_of("nl").items()})
    return filled(before) + start + texts + end + filled(after)


def said_texts(body):
    return json.dumps({key: mark(text) for key, text in json.loads(body).items()})


def filled(html):
    html = re.sub(r'(aria-label|title)="([^"]+)"', r'\1="⟦\2"', html)
    return re.sub(r">([^<>\n]*\w[^<>\n]*)<", r">⟦\1<", html)


def listing_texts(body):
    """The listing is made by the gateway: what is a text of Dutch there is marked."""
    for text in texts_of("nl").values():
        if isinstance(text, str):
            body = body.replace(f">{text}<", f">⟦{text}<").replace(f'label="{text}"', f'label="⟦{text}"')
    return body


SCHEMES = {
    "light": {"rules": {"label-content-name-mismatch": {"enabled": True}}},
    "dark": {"runOnly": ["color-contrast"]},
}
"""What axe looks at. In light also that a control is called by what is written on it; in dark what goes by colour."""
VIOLATIONS = """options => axe.run(document, {resultTypes: ["violations"], ...options}).then(({violations}) =>
  violations.flatMap(({id, nodes}) => nodes.map(({html, any}) => [id, html.slice(0, 200), any[0]?.message ?? ""])))"""
UNMARKED = """() => {
  const DATA = "[translate=no], option[lang], code, pre, kbd, script, #format, .step option:not(:last-child)";
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const text = node.textContent.trim();
    if (!/\\p{L}{3}/u.test(text) || text.includes("⟦") || node.parentElement.closest(DATA)) continue;
    if (/^[\\d.,:\\s]*(sec|min|uur|dagen|ms|kB|MB)\\.?( geleden)?$/.test(text)) continue; // by Intl
    found.push(text);
  }
  for (const name of ["aria-label", "placeholder", "title", "aria-valuetext"]) {
    for (const element of document.querySelectorAll(`[${name}]:not([translate=no])`)) {
      const text = element.getAttribute(name);
      if (/\\p{L}{3}/u.test(text) && !text.includes("⟦")) found.push(`${name}: ${text}`);
    }
  }
  return found;
}"""
"""Texts that come from no file of texts, also what the API says in English. Data says so itself: `translate=no`."""


def submit(stack, *files, **actions):
    answer = web.post(f"{stack.url}/v1/batches", timeout=60, **form(*files, actions={"output": "jpg", **actions}))
    assert answer.status_code == 202, answer.text
    return answer.json()["batch_id"]


def mixed(stack):
    """A batch over a folder that has other files, too."""
    name, body = picture(0)
    folder = stack.folder / "gemengd"
    folder.mkdir()
    for file, content in {name: body, "notes.txt": b"some notes", "moving.gif": b"GIF89a"}.items():
        (folder / file).write_bytes(content)
    web.post(f"{stack.url}/v1/batches", json=REJECTED | MIXED, timeout=60)
    stack.settled("gemengd")


def test_every_state_is_whole_in_light_and_dark_and_in_its_language(open_page, stack):
    page = open_page(locale="nl-NL", expecting=["503", "409"])
    walk = Walk(page, stack.url)
    name, body = picture(2)
    tiny = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()
    done = submit(stack, *map(picture, range(2)), operations=ROUTE, name="Grachtenpanden")
    cut = (f"cut-{name}", body[: len(body) // 2])
    closed = (f"closed-{name}", body[: len(body) // 2] + END_OF_JPEG)
    failed = submit(stack, cut, closed, ("tiny.png", tiny), picture(0), operations=ROUTE[1:])
    web.post(f"{stack.url}/v1/batches", json=REJECTED, timeout=60)
    mixed(stack)
    stack.settled(done)
    stack.settled(failed)
    with walk.problem("**/v1/batches?*", 200, {"batches": [], "next": None}):
        overview(walk, "empty")
    overview(walk, "list")
    chosen(walk)
    with stopped(stack.pids("resize")):
        running = submit(stack, *map(picture, range(3)), operations=ROUTE)
        walk.go(f"/#/batch/{running}")
        expect(page.locator(".batch-head .steps")).to_be_visible(timeout=WAIT_MS)
        walk.look("running")
    batches(walk, done, failed)
    walk.go("/#/stage/split")
    expect(page.locator(".reasons code").first).to_be_visible(timeout=WAIT_MS)
    walk.look("stage")
    for path in ("/static/", f"/static/{done}/", f"/static/{done}/sent/"):
        walk.go(path)
        walk.look(path)
    away(walk)
    assert walk.found == []


def overview(walk, state):
    walk.go("/#/")
    expect(walk.page.locator(".stage")).to_have_count(3)
    expect(walk.page.locator(".batches li").first).to_be_visible()
    walk.look(state)


def chosen(walk):
    page = walk.page
    page.set_input_files("#files", as_files(picture(0), picture(1)))
    for number in range(3):
        page.locator(".add").nth(number).click()
    for summary in page.locator(".send summary").all():
        summary.click()
    expect(page.locator(".plan")).to_contain_text("⟦")
    walk.look("chosen")
    page.route("**/v1/batches", lambda _: None)  # never answered
    page.locator(".primary").first.click()
    expect(page.locator("progress")).to_be_visible()
    walk.look("uploading")
    page.unroute("**/v1/batches")


def batches(walk, done, failed):
    page = walk.page
    walk.go(f"/#/batch/{done}")
    expect(page.locator(".image.done")).to_have_count(2)
    walk.look("done")
    page.locator(".open").first.press("Enter")
    until(page, "document.querySelector('.frame').style.width !== ''")
    walk.look("compare")
    walk.go(f"/#/batch/{failed}")
    expect(page.locator(".groups > li")).to_have_count(2)
    expect(page.locator(".failed-images .reason")).to_have_text([re.compile("^⟦Stap 1, .*: ⟦")] * 3)
    expect(page.locator(".reason [lang]")).to_have_count(0)
    walk.look("failed")
    walk.go("/#/batch/gemengd")
    expect(page.locator(".batch-head")).to_contain_text(re.compile("een GIF, dat wordt .*tekst, dat wordt"))
    walk.look("skipped")
    page.set_viewport_size({"width": 390, "height": 844})
    walk.go("/#/")
    expect(page.locator(".batches")).to_contain_text("bestanden overgeslagen")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})
    walk.go("/#/batch/geweigerd")
    expect(page.get_by_role("heading", name="Gevels")).to_be_visible()
    expect(page.locator(".problems li")).to_have_count(1)
    expect(page.locator(".problems li")).to_contain_text("is niet in de bronopslag")
    walk.look("rejected")


def away(walk):
    page = walk.page
    with walk.problem("**/readyz", 503, AWAY):
        walk.go("/#/")
        expect(page.locator(".health.bad")).to_be_visible()
        expect(page.locator(".why")).to_contain_text("berichtendienst")
        walk.look("away")
    with walk.problem("**/v1/session", 401, NO_KEY):
        walk.go("/#/")
        page.locator("#key").fill("onbekend")
        page.locator("#sign-in button").click()
        expect(page.locator("#key-problem")).to_contain_text("niet bekend")
        expect(page.locator("#key-problem [lang]")).to_have_count(0)
        walk.look("sign-in")


def test_the_page_speaks_the_language_of_the_browser_and_keeps_a_choice(open_page, stack):
    page = open_page(locale="de-DE")
    expect(page.get_by_role("heading", name="Bilder senden")).to_be_visible()
    page.get_by_label("Sprache").select_option("nl")
    expect(page.get_by_role("heading", name="Afbeeldingen versturen")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "nl")
    page.goto(f"{stack.url}/static/")
    expect(page.get_by_role("heading", name="Bestanden")).to_be_visible()
    page.goto(f"{stack.url}/")
    expect(page.get_by_label("Taal")).to_have_value("nl")


def test_numbers_and_times_are_written_as_the_locale_writes_them(open_page):
    page = open_page(locale="de-CH")
    written = page.evaluate("import('/page/format.js').then(f => [f.rate(12.34), f.bytes(2500000), f.duration(7200)])")
    assert written == ["12.3", "2.5 MB", "2 Std."]
    page = open_page(locale="fr-FR")
    written = page.evaluate("import('/page/format.js').then(f => [f.rate(12.34), f.bytes(2500000), f.before(120)])")
    assert [text.replace("\u202f", " ").replace("\xa0", " ") for text in written] == ["12,3", "2,5 Mo", "il y a 2 min"]


def test_words_that_nobody_translated_say_that_they_are_english(open_page):
    page = open_page(locale="de-DE")
    page.evaluate("text => import('/page/said.js').then(s => document.body.append(s.said(text)))", UNTRANSLATED)
    expect(page.locator("body > span")).to_have_text('das JPEG ist beschädigt: der Decoder meldet "a new complaint"')
    expect(page.locator("body > span [lang=en]")).to_have_text("a new complaint")
    assert page.evaluate("text => import('/page/said.js').then(s => s.saidWhole(text))", UNTRANSLATED) == ""
