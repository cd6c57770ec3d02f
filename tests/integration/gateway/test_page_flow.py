"""The pipeline as it is drawn: order, lines, bottleneck, history, and what a click on a stage shows."""

import re

import pytest
from playwright.sync_api import expect
from tests.integration.gateway.help import form, picture
from tests.integration.gateway.pages import WAIT_MS, until
from tests.support import web
from tests.support.stopping import stopped
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)
ROUTE = [["blur", "gaussian"], ["resize", "50%"]]
"""Not the order of the alphabet backwards only: blur, which cannot work now, comes first."""


def submit(stack, *files, operations, **more):
    answer = web.post(
        f"{stack.url}/v1/batches",
        timeout=60,
        **form(*files, actions={"operations": operations, "output": "jpg", **more}),
    )
    assert answer.status_code == 202, answer.text
    return answer.json()["batch_id"]


def names(page):
    return [name.lower() for name in page.locator(".flow .stage h3").all_inner_texts()]


def test_stages_stand_in_the_order_of_the_routes_that_run_and_the_bottleneck_is_marked(open_page, stack):
    with stopped(stack.pids("blur")):
        batch_id = submit(stack, *map(picture, range(24)), operations=ROUTE, municipality="Zwolle")
        page = open_page()
        expect(page.locator(".edge[data-to='resize']")).to_have_count(1)
        assert names(page)[:2] == ["blur", "resize"]
        expect(page.locator(".edge[data-to=' out']")).to_have_count(1)
        expect(page.locator(".flow .unused h3")).to_have_text("split")
        until(page, "Number(document.querySelector('.backlog-number').textContent) > 0")
        page.get_by_role("link", name="blur", exact=True).click()
        expect(page.get_by_role("heading", name="blur", level=1)).to_be_visible()
        expect(page.locator(f"[data-batch='{batch_id}']")).to_contain_text("Zwolle")
        page.get_by_role("link", name="Pipeline").click()
        expect(page.locator(".stage")).to_have_count(3)
    stack.settled(batch_id)


def test_charts_have_a_past_when_the_page_is_opened(open_page, stack):
    def points():
        return len(web.get(f"{stack.url}/v1/stages/history").json()["at"])

    eventually(lambda: points() >= 3, 30)
    page = open_page("/#/stage/resize")
    expect(page.locator("svg.history.workers path.line")).to_have_count(1)
    expect(page.locator("svg.history.workers")).to_have_attribute("aria-label", re.compile(r"^Workers: \d+ now"))


def test_a_stage_shows_why_images_failed_there_and_who_works(open_page, stack):
    name, body = picture(1)
    batch_id = submit(stack, (f"cut-{name}", body[: len(body) // 2]), picture(0), operations=[["resize", "64x"]])
    assert stack.settled(batch_id)["failed"] == 1
    answer = web.get(f"{stack.url}/v1/batches/{batch_id}/failures").json()
    assert [(each["reason_code"], each["images"]) for each in answer["reasons"]] == [("image_damaged", 1)]
    page = open_page("/#/stage/resize")
    expect(page.locator(".reasons")).to_contain_text("image_damaged", timeout=WAIT_MS)
    expect(page.locator(".facts")).to_contain_text("Workers")
    expect(page.locator(".batches .empty")).to_have_text("None now.")  # the batch that failed has passed it


def test_large_numbers_of_a_stage_stand_beside_each_other(open_page, stack):
    def busy(route):
        answer = route.fetch()
        stages = [stage | {"ready": 9876, "rate_tasks_per_s": 123.4} for stage in answer.json()["stages"]]
        stages[0]["ready"] = 123_456
        route.fulfill(response=answer, json=answer.json() | {"stages": stages})

    submit(stack, picture(0), operations=[["resize", "64x"], ["split", "2x2"], ["blur", "gaussian"]])
    page = open_page("/static/")
    page.route("**/v1/stages", busy)
    page.goto(stack.url)
    expect(page.locator(".edge").first).to_be_attached()
    expect(page.locator(".backlog-number", has_text="9,876")).to_have_count(2)
    tops = "numbers => numbers.map(each => each.children[1].offsetTop - each.children[0].offsetTop)"
    assert page.locator(".numbers").evaluate_all(tops) == [0, 0, 0]
    assert "123K" in page.locator(".backlog-number").all_inner_texts()


def test_a_row_of_a_batch_is_one_line_where_there_is_little_room(open_page, stack):
    with stopped(stack.pids("blur")):
        batch_id = submit(stack, *map(picture, range(24)), operations=[*ROUTE, ["split", "3x3"]], municipality="Zwolle")
        page = open_page(viewport={"width": 980, "height": 800})
        row = page.locator(f"[data-batch='{batch_id}'] > .small")
        expect(row).to_contain_text("left, done at", timeout=WAIT_MS)
        assert row.evaluate("row => Math.max(...[...row.children].map(part => part.offsetHeight))") < 30
    stack.settled(batch_id)


def test_a_box_to_tick_stands_before_its_words(open_page):
    page = open_page()
    page.locator(".send summary", has_text="Checksums").click()
    box = page.get_by_label("Checksums (SHA-256) in the report").bounding_box()
    row = page.locator("label[for='checksums']").bounding_box()
    assert max(box["width"], box["height"]) < 24
    assert row["height"] < 36


def test_on_a_phone_pipeline_and_batches_come_first_and_the_flow_goes_down(open_page, stack):
    submit(stack, picture(0), operations=[["resize", "64x"], ["blur", "gaussian"]])
    page = open_page(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    expect(page.locator(".edge").first).to_be_attached()
    top = {name: page.locator(f"#{name}-title").bounding_box()["y"] for name in ("stages", "batches", "send")}
    assert top["stages"] < top["batches"] < top["send"]
    first, second = (page.locator(".flow .stage").nth(number).bounding_box() for number in (0, 1))
    assert (first["x"], first["y"] + first["height"]) <= (second["x"], second["y"])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_page_is_light(open_page):
    page = open_page()
    expect(page.locator(".stage")).to_have_count(3)
    sizes = page.evaluate(
        "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
        ".filter(entry => !entry.name.includes('/v1/')).map(entry => entry.transferSize)"
    )
    assert len(sizes) > 3
    assert sum(sizes) < 150_000
